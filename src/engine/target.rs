//! The device that a program runs on.

use std::sync::Arc;

use tch::Device;

use crate::kernels::cuda;

/// The device of the tensors, and the launcher of our CUDA kernels.
#[derive(Clone)]
pub struct Target {
    pub device: Device,
    /// `None` on the CPU. In tests the host may take the place of the GPU, with tensors on the CPU.
    pub cuda: Option<Arc<dyn cuda::Device + Send + Sync>>,
}

impl Target {
    pub fn cpu() -> Target {
        Target { device: Device::Cpu, cuda: None }
    }
}
