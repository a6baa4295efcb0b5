//! Tensors: runs a program on our kernels where we have them and on ATen for all else.
//!
//! `shim` is torch's C interface, raw and then safe; `call` runs any operation of torch through
//! the dispatcher, `scalar_call` those whose arguments the C interface cannot take;
//! `batch_norm` and `convolution` run our kernels, `covariance` and `squeeze_excite` those of
//! operations that torch calls, `cuda` those on a GPU; `fusions` suits a program to them, `engine`
//! goes through it.

mod batch_norm;
mod call;
mod convolution;
pub mod covariance;
pub mod cuda;
#[allow(clippy::module_inception)]
mod engine;
mod fusions;
pub mod memory;
mod parallel;
mod prepared;
mod scalar_call;
mod shim;
pub mod squeeze_excite;
mod storage;
mod target;
mod values;

pub use call::Fallback;
pub use convolution::{Choice, Preference, Tuner};
pub use engine::{Engine, Results};
pub use fusions::Memory;
pub use parallel::{parallel_for, AtenPool};
pub use target::Target;
pub use values::{Lookup, Outputs, Poll};
