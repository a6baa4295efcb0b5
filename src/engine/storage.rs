//! One block of memory for the results of our own operations, laid out by the memory plan.

use tch::{Device, Kind, Tensor};

use super::memory::{as_channels_last, in_memory};
use crate::error::{Error, Result};
use crate::program::passes::MemoryPlan;
use crate::program::{Dtype, Program, ValueId, ValueInfo};

/// Allocated once: a step that is not the first takes no page from the operating system.
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

    /// No value has planned memory.
    pub fn none() -> Storage {
        Storage { tensors: Vec::new(), bytes: 0, device: Device::Cpu }
    }

    /// Where the block lies, and everything else that operations of ours make.
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
    let kind = match info.dtype {
        Dtype::Float32 => Kind::Float,
        Dtype::Float64 => Kind::Double,
        Dtype::Bfloat16 => Kind::BFloat16,
        other => return Err(Error::Capture(format!("{other:?} has no planned memory"))),
    };
    let bytes = block.f_narrow(0, offset as i64, info.bytes() as i64)?;
    let dims = info.shape.len();
    if dims < 3 {
        return Ok(bytes.f_view_dtype(kind)?.f_view(info.shape.as_slice())?);
    }
    let memory = bytes.f_view_dtype(kind)?.f_view(in_memory(&info.shape).as_slice())?;
    as_channels_last(&memory, dims)
}
