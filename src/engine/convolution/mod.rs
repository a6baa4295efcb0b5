//! A convolution, or one of its gradients, made ready to run: its kernel chosen, its weight kept
//! from step to step in the order in which the kernel reads it.

mod choice;
mod folded;
mod geometry;
mod ready;
mod torch;
mod tuner;
mod typed;

pub use crate::kernels::cpu::convolution::Algorithm;
pub use choice::Choice;
pub use geometry::{geometry, Product};
pub use ready::{master, Ready};
pub use tuner::Tuner;
