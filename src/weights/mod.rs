//! Computations that transform weights into other weights.

mod decompose;

pub use decompose::{decompose, Variant};
