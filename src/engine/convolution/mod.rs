//! Convolutions and their gradients: the choice of an algorithm, and the kernels with their packed
//! weights.

mod candidates;
mod choice;
mod folded;
mod geometry;
mod kernel;
mod torch;
mod tuner;
mod typed;

pub use candidates::Preference;
pub use choice::Choice;
pub use geometry::Product;
pub use kernel::Kernel;
pub use tuner::Tuner;
