//! One block of memory for the results of our own operations, divided by the memory plan.

use tch::{Device, Kind, Tensor};

use super::memory::{as_channels_last, in_memory};
use crate::error::Result;
use crate::program::passes::MemoryPlan;
use crate::program::{Program, ValueId, ValueInfo};

/// Allocated once, so that later steps request no pages from the operating system.
pub struct Storage {
    tensors: Vec<Option<Tensor>>,
    bytes: usize,
    device: Device,
}

impl Storage {
    pub fn new(program: &Program, plan: &MemoryPlan, device: Device) -> Result<Storage> {
        let block = Tensor::f_empty([plan.bytes as i64], (Kind::Uint8, device))?;
        let tensors = program
            .values
            .iter()
            .zip(&plan.offsets)
            .map(|(info, offset)| offset.map(|offset| view(&block, info, offset)).transpose());
        Ok(Storage { tensors: tensors.collect::<Result<_>>()?, bytes: plan.bytes, device })
    }

    /// The given memory of each value, on the CPU.
    pub fn of(tensors: Vec<Option<Tensor>>) -> Storage {
        Storage { tensors, bytes: 0, device: Device::Cpu }
    }

    /// The device of the block and of all other results of our operations.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The planned memory of a value.
    pub fn tensor(&self, value: ValueId) -> Option<Tensor> {
        self.tensors.get(value.0)?.as_ref().map(Tensor::shallow_clone)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn view(block: &Tensor, info: &ValueInfo, offset: usize) -> Result<Tensor> {
    let kind = Kind::from(info.dtype);
    let bytes = block.f_narrow(0, offset as i64, info.bytes() as i64)?;
    let dims = info.shape.len();
    if dims < 3 {
        return Ok(bytes.f_view_dtype(kind)?.f_view(info.shape.as_slice())?);
    }
    let memory = bytes.f_view_dtype(kind)?.f_view(in_memory(&info.shape).as_slice())?;
    as_channels_last(&memory, dims)
}
