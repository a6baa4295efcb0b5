//! The forward and the gradient of the input as one computation.

mod microkernel;
mod moments;
mod pass;

pub use moments::{add_moments, merged};
pub use pass::Correlation;
