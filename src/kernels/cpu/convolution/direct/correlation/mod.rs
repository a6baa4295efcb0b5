//! The forward and the gradient of the input as one computation.

mod epilogue;
mod layout;
mod microkernel;
mod pass;
mod pixels;
mod plan;
mod staging;

pub use pass::Product;
pub use plan::Plan;
