//! What a program runs on.

use std::sync::Arc;

use tch::Device;

use crate::kernels::cuda;

/// Where tensors lie, and who runs the kernels for CUDA, if they are the ones.
#[derive(Clone)]
pub struct Target {
    pub device: Device,
    /// `None` on the CPU. In tests the host may stand for the GPU; the tensors are the CPU's then.
    pub cuda: Option<Arc<dyn cuda::Device + Send + Sync>>,
}

impl Target {
    pub fn cpu() -> Target {
        Target { device: Device::Cpu, cuda: None }
    }
}
