//! Compute kernels on raw slices: no tensors, no torch.

pub mod cpu;
pub mod cuda;
