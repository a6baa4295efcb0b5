//! Convolutions with 3x3 kernels after Winograd: F(2x2, 3x3) of Lavin and Gray, arXiv 1509.09308.
//!
//! The output is cut into tiles of 2x2. A tile's 4x4 inputs and the 3x3 weights are taken to
//! sixteen positions by additions alone; at each position the channels are contracted by a small
//! matrix product; additions take the products back. That is 16 multiplications for a direct
//! convolution's 36. In bf16 the transformed numbers are rounded once more: the results' error is
//! about twice that of the direct convolution.
//!
//! A task takes rows of tiles, a block of tiles at a time from the input to the output, so that
//! the sixteenfold data never leave the near caches. The transforms of one block are dealt among
//! the products of another: the core adds while it multiplies.

// Loops over registers are written with their numbers, which several arrays share.
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
