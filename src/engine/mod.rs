//! Tensors: runs a program on our kernels where they exist and on ATen otherwise.
//!
//! `shim` is torch's C interface, raw and then safe. `call` runs any operation of torch through the
//! dispatcher, except for arguments that the C interface cannot pass (`scalar_call`). `attention`,
//! `batch_norm`, `convolution`, [`covariance`], [`squeeze_excite`] and [`cuda`] run our kernels on tensors.
//! `fusions` adapts a program to them, `executor` runs one instruction and `engine` all of them.

mod attention;
mod batch_norm;
mod call;
mod convolution;
pub mod covariance;
pub mod cuda;
#[allow(clippy::module_inception)]
mod engine;
mod executor;
mod fusions;
mod layer_norm;
pub mod memory;
mod parallel;
mod scalar_call;
mod shim;
pub mod squeeze_excite;
mod storage;
mod target;
mod torch_types;
mod values;

pub use call::Fallback;
pub use convolution::Choice;
pub use engine::{Engine, Results};
pub use fusions::Memory;
pub use parallel::{parallel_for, AtenPool};
pub use target::Target;
pub use torch_types::dtype_name;
pub use values::{operand, Lookup, Outputs, Poll};
