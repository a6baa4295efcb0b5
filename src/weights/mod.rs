//! Weights in, weights out.

mod decompose;

pub use decompose::{decompose, Layer, Variant};
