//! The forward and the gradient of the input as one computation.

mod epilogue;
mod microkernel;
mod moments;
mod pass;
mod plan;
mod staging;

pub use pass::Convolve;
pub use plan::Shape;
