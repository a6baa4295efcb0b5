//! The gradients of the weight and the bias: `grad_weight[co, tap, ci]` is the sum over all pixels
//! of `grad_y[pixel, co] * x[pixel under the tap, ci]`.
//!
//! The contracted dimension is that of the pixels, so a *word* (see [`Number`](crate::cpu::Number))
//! holds pixels side by side: two in bf16, one in f32.
//!
//! ```text
//! x ------staging----> packed strip of x ------+
//!   rows, batch norm   [block][row][column]    |    microkernel          reduce
//!                                              +--> accumulators ------> grad_weight
//! grad_y -staging----> packed strip of grad_y -+    partial gradient
//!                      [block][row][step]
//! ```
//!
//! A [`pass`] divides the output channels among tasks and, if these are too few, also the images
//! ([`plan`]). Tasks of different images add to partial gradients of their own, which are merged in
//! order (`kernels/cpu/reduce.rs`).
//!
//! A [`task`] goes through its images in *strips* of rows that fit into the caches. It packs a
//! strip of `x` and of `grad_y` into words ([`staging`], [`layout`]) so that every tap of a row
//! reads the same packed data from another column. The [`microkernel`] adds up tiles of the
//! gradient: 16 input channels are the lanes, up to 16 output channels are broadcast. With few
//! input channels it is the other way round, and the taps of a row lie side by side like channels
//! (*narrow*).

mod bias;
mod layout;
mod microkernel;
mod pass;
mod plan;
mod rows;
mod staging;
mod strip;
mod task;

pub use pass::GradWeight;
