//! The forward and the gradient of the input as one computation: a 3x3 correlation of a source with
//! a packed weight. In the gradient of the input the source is `grad_y` and the kernel is rotated.
//!
//! A [`pass`] divides rows of tiles and output channels into tasks ([`plan`], [`layout`]). A
//! [`task`] goes through its blocks of tiles with two buffers each for transformed tiles and for
//! products:
//!
//! ```text
//! block:          n - 1           n             n + 1
//!                 epilogue        microkernel   staging        all at the same time
//! ```

mod epilogue;
mod layout;
mod microkernel;
mod moments;
mod pass;
mod plan;
mod shape;
mod staging;
mod task;

pub(super) use pass::Correlation;
pub(super) use shape::Shape;
