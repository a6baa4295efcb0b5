//! Convolution of bf16 with the tiles of AMX, for every kernel size, stride, padding and dilation,
//! of one group or of groups that share one weight.
//!
//! One instruction multiplies a tile of 16 rows by 32 numbers with one of 32 numbers by 16 columns,
//! and adds the product to a tile of 16 by 16 sums in f32. All three passes are made of it; what
//! differs is what the rows, the numbers and the columns are.
//!
//! # Forward and gradient of the input
//!
//! Both are one computation, a `correlation`. Rows are pixels, columns are output channels, and the
//! contracted numbers are the source channels of a tap:
//!
//! ```text
//!          staging             microkernel                epilogue
//! source ----------> scratch --------------> sums of ----------------> output
//!          zero padding,        ^            up to four  bias, residual,
//!          batch norm           |            tiles       activation, moments
//!                         packed weight
//! ```
//!
//! The scratch holds 32 channels of each pixel in a cache line of its own, so that 16 pixels which
//! one tap reads for neighboring outputs are a tile that is loaded by one instruction. Where images
//! are narrow, the pixels of several images alternate. With 16 source channels or fewer, a line
//! holds the channels of several neighboring pixels, and the taps that read them are contracted
//! together (`fold`).
//!
//! # Gradient of the weight
//!
//! See `grad_weight`.

mod check;
mod correlation;
mod fold;
mod forward;
mod grad_input;
mod grad_weight;
mod pack;
mod packed_weight;
mod pixels;

#[cfg(test)]
mod tests;

pub use check::takes;
pub use forward::Forward;
pub use grad_input::GradInput;
pub use grad_weight::GradWeight;
pub use packed_weight::PackedWeight;

/// Numbers that a product contracts.
const DEPTH: usize = 32;
