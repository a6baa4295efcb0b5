//! The gradients of the weight and the bias.

mod microkernel;
mod pass;
mod task;

pub use pass::GradWeight;
