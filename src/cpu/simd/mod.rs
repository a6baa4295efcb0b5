//! Vectors of 16 lanes, in the instructions of each level.
//!
//! A kernel is written once over [`Simd`] and compiled once for each of its implementations.
//!
//! A *word* is 32 bits of the contracted dimension: two adjacent bf16, or one f32. Multiplying
//! words and adding up ([`Number::dot`]) is all that a convolution does.

mod array;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
mod number;
#[cfg(target_arch = "x86_64")]
mod transpose;

pub(crate) use array::Array;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub use lanes::Simd;
pub(crate) use lanes::LANES;
pub(crate) use number::convert;
pub use number::Number;
