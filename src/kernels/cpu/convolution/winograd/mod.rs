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

mod convolve;
mod drain;
mod feed;
mod forward;
mod grad_input;
mod grad_weight;
mod gradient_feed;
mod gradient_plan;
mod gradient_task;
mod lines;
mod pack;
mod plan;
mod product;
mod shared;
mod statistics;
mod transform;
mod weight;

#[cfg(test)]
mod tests;

use super::Geometry;

pub use forward::Forward;
pub use grad_input::GradInput;
pub use grad_weight::GradWeight;
pub use weight::PackedWeight;

/// Positions of a transformed tile.
const POSITIONS: usize = 16;
/// Numbers in a vector.
const LANES: usize = 16;

/// Whether the kernels of this module can compute a convolution.
pub fn takes(geometry: &Geometry) -> bool {
    geometry.check().is_ok()
        && geometry.kernel_size == [3, 3]
        && geometry.stride == [1, 1]
        && geometry.dilation == [1, 1]
        && geometry.groups == 1
        && geometry.padding.iter().all(|&padding| padding <= 2)
}

fn check(geometry: &Geometry) -> crate::error::Result<()> {
    match takes(geometry) {
        true => Ok(()),
        false => Err(crate::error::Error::Geometry { got: format!("{geometry:?} for Winograd") }),
    }
}
