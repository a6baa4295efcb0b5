//! Our kernels for CUDA on tensors: unpack, launch, pack. Nothing here waits for the device.

mod batch_norm;
mod cross_entropy;
mod operand;
mod run;

pub use operand::{address, number};
pub use run::run;
