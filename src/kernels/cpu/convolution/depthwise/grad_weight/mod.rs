//! The gradients of the weight and the bias.
//!
//! A [`pass`] divides the rows of `grad_y` into tasks. A [`task`] multiplies each row of `grad_y`
//! with the rows of `x` under the kernel ([`microkernel`]), keeping the sums of as many kernel rows
//! in registers as fit, and adds to a partial gradient of its own. The partial gradients are merged
//! in order ([`merge`]).

mod merge;
mod microkernel;
mod pass;
mod task;

pub use pass::GradWeight;
