//! The core of proprelu.
//!
//! `ratio`, `data`, `program`, `kernels` and `optim` know neither torch nor each other;
//! `engine` runs a program on tensors, `train` is the loop, `python` the only door to Python.

pub mod data;
pub mod error;
pub mod kernels;
pub mod optim;
pub mod program;
pub mod ratio;

#[cfg(feature = "python")]
pub mod engine;
#[cfg(feature = "python")]
mod python;
#[cfg(feature = "python")]
pub mod train;
