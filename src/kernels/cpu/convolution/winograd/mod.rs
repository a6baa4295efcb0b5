//! Winograd's convolution with 3x3 kernels: F(2x2, 3x3) of Lavin and Gray, arXiv 1509.09308.
//!
//! The output is divided into tiles of 2x2 pixels. A tile's 4x4 input pixels and the 3x3 weights
//! are transformed to 16 *positions*, by additions alone for the input. At each position the
//! channels are contracted by a small matrix product, and the products are transformed back by
//! additions. That takes 16 multiplications where a direct convolution takes 36. In bf16 the
//! transformed numbers are rounded once more, so that the error of the result is about twice that
//! of a direct convolution.
//!
//! # Forward and gradient of the input
//!
//! Both are one computation, a `correlation`. The names are those of the paper:
//!
//! ```text
//!        rows           B^T d B                                  A^T m A
//! x ------------> ring ----------> v ----> microkernel ----> m ----------> y
//!    padding,     of 4   staging   [position]   ^            [position]     epilogue: bias,
//!    batch norm   rows             [channel]    |            [tile]         residual, activation,
//!                                  [tile]       u = G g G^T  [channel]      moments
//!                                               packed weight
//! ```
//!
//! A task takes rows of tiles, and from the input to the output one block of tiles at a time, so
//! that the transformed data, four times as large as the input, never leave the near caches.
//! Staging and epilogue are interleaved with the products of other blocks: the core adds while it
//! multiplies.
//!
//! # Gradient of the weight
//!
//! See `grad_weight`.

// Loops over registers use indices, which several arrays share.
#![allow(clippy::needless_range_loop)]

mod check;
mod correlation;
mod forward;
mod grad_input;
mod grad_weight;
mod pack;
mod packed_weight;
mod rows;
mod transform;

#[cfg(test)]
mod tests;

pub use check::takes;
pub use forward::Forward;
pub use grad_input::GradInput;
pub use grad_weight::GradWeight;
pub use packed_weight::PackedWeight;

/// Positions of a transformed tile.
const POSITIONS: usize = 16;
