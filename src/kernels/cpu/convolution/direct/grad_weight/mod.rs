//! The gradient of a convolution's weight: `grad_weight[co, tap, ci]` is the sum over all pixels of
//! `grad_y[pixel, co] * x[pixel under the tap, ci]`.
//!
//! The contracted dimension is that of the pixels, so a word (see `simd`) holds pixels side by
//! side: a pair in bf16, one in f32. A task goes through its images in strips of rows that fit into
//! the caches. It packs a strip of `x` and of `grad_y` into words (`staging`), then adds up tiles of
//! the gradient in registers: sixteen input channels are the lanes, eight output channels are
//! broadcast (`microkernel`). Packed columns of `x` lie so that each tap of a row is the same data read
//! from another place. With few input channels the taps themselves are packed into the lanes
//! (`layout`).
//!
//! Tasks share the output channels out among them; where there are too few of these, also the
//! images: then they add to partial gradients of their own, which are merged in order (`plan`).

mod layout;
mod merge;
mod microkernel;
mod pass;
mod plan;
mod rows;
mod staging;
mod task;

#[cfg(test)]
mod tests;

pub use pass::GradWeight;
