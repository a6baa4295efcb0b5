//! Direct convolution: the forward and the gradients of input and weight, for every kernel size,
//! stride, padding and dilation, of one group or of groups that share one weight.
//!
//! # Forward and gradient of the input
//!
//! Both are one computation, a `correlation`: each output pixel is the sum over the *taps* of the
//! kernel of a source pixel times the weights of that tap. The source is `x` in the forward and
//! `grad_y` in the gradient of the input.
//!
//! ```text
//!          staging             microkernel                     epilogue
//! source ----------> scratch --------------> accumulators -----------------> output
//!          zero padding,        ^            of a tile in       bias, residual,
//!          batch norm           |            registers          activation, moments
//!                         packed weight
//! ```
//!
//! A task copies the rows of the source that it needs into a scratch that stays in the second-level
//! cache. The scratch has no borders: padding is zeros, and the pixels that one tap reads for
//! neighboring outputs are neighbors. The microkernel keeps a tile of accumulators, up to 16 pixels
//! by 16 channels or 14 pixels by 32 channels, in registers over all taps and source channels.
//!
//! The gradient of a strided convolution falls apart into *phases*: output pixels that have the
//! same remainder modulo the stride read the same taps. With few source channels, as in an image,
//! the columns of the kernel are folded into the channels first (`view`).
//!
//! # Gradient of the weight
//!
//! See `grad_weight`.

mod check;
mod correlation;
mod forward;
mod grad_input;
mod grad_weight;
mod pack;
mod packed_weight;
mod view;
mod words;

#[cfg(test)]
mod tests;

pub use forward::Forward;
pub use grad_input::GradInput;
pub use grad_weight::GradWeight;
pub use packed_weight::PackedWeight;
