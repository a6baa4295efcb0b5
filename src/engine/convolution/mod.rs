//! A convolution, or one of its gradients, made ready to run: its kernel chosen, its weight kept
//! from step to step in the order in which the kernel reads it.

mod candidates;
mod choice;
mod folded;
mod geometry;
mod ready;
mod torch;
mod tuner;
mod typed;

pub use candidates::Preference;
pub use choice::Choice;
pub use geometry::Product;
pub use ready::{master, Ready};
pub use tuner::Tuner;
