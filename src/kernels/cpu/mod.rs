//! Kernels for the CPU, one operation a file.

mod activation;
pub mod batch_norm;
mod check;
pub mod convolution;
pub mod covariance;
mod element;
pub mod parallel;
mod parts;
mod scratch;
mod simd;
pub mod squeeze_excite;
#[cfg(test)]
mod testing;

pub use crate::activation::Activation;
pub use element::Element;
pub use parallel::{Parallel, Serial};
pub use simd::Number;
