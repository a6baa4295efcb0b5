//! The gradients of the weight and the bias.

mod microkernel;
mod pass;
mod plan;
mod staging;
mod task;

pub use pass::GradWeight;
