//! The gradients of the weight and the bias: `grad_weight[co, tap, ci]` is the sum over all pixels
//! of `grad_y[pixel, co] * x[pixel under the tap, ci]`.
//!
//! The contracted numbers are pixels, 32 of a row of the output, or of the same row of several
//! images where these are narrow. Rows are output channels, columns are input channels:
//!
//! ```text
//! x ------input------> pairs of pixels ------+
//!    batch norm        [tile][row][pair]     |   microkernel            merge
//!                                            +-> sums in memory, four -------> grad_weight
//! grad_y -output-----> transposed -----------+   of them in tiles
//!                      [tile][row][16 channels][pair]
//! ```
//!
//! A [`pass`] divides the output channels and the input channels among tasks and, if these are too
//! few, also the images ([`plan`]). A [`task`] goes through its images in *strips* that fit into
//! the second-level cache. A tap further to the right reads the same packed `x` from another column
//! ([`layout`]). With few input channels, several taps of a row lie side by side like channels.

mod input;
mod layout;
mod merge;
mod microkernel;
mod output;
mod pass;
mod plan;
mod roll;
mod task;

pub use pass::GradWeight;
