//! Convolutions and their gradients: the choice of their algorithms, and kernels with packed
//! weights.

mod choice;
mod contest;
mod folded;
mod kernel;
mod torch;
mod typed;
mod weight;

pub use choice::Choice;
pub use kernel::Kernel;
