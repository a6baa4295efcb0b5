//! Kernels for the CPU, one operation a file.

pub mod batch_norm_relu;
mod element;
mod instructions;
pub mod parallel;
mod parts;

pub use element::Element;
pub use parallel::{Parallel, Serial};
