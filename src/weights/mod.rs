//! Computations that transform weights into other weights, in f64.

mod branches;
mod convolution;
mod decompose;
mod geometry;
mod merge;

pub use convolution::Convolution;
pub use decompose::{decompose, Variant};
pub use geometry::{Geometry, Pair};

#[cfg(test)]
mod tests;
