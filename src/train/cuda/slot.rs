//! The memory from which a step reads its batch.

use tch::{Kind, Tensor};

use crate::engine::memory::empty_channels_last;
use crate::engine::Target;
use crate::error::{Error, Result};
use crate::program::{Dtype, Program, Role};

/// The images and labels of the current batch. All steps read the same memory.
pub struct Slot {
    /// (N, C, H, W) in channels-last format.
    pub images: Tensor,
    /// (N,), int64.
    pub labels: Tensor,
}

impl Slot {
    /// Allocates the batch inputs of a program, and int64 labels if the program reads no labels.
    pub fn of(program: &Program, target: &Target) -> Result<Slot> {
        let mut batch = program.inputs.iter().filter(|input| input.role == Role::Batch);
        let mut next = || batch.next().map(|input| &program.values[input.value.0]);
        let images = next().ok_or_else(|| Error::Capture("the program takes no images".into()))?;
        let kind = kind(images.dtype);
        let size = images.shape.clone();
        let labels = match next() {
            Some(labels) => (labels.shape.clone(), self::kind(labels.dtype)),
            None => (vec![size[0]], Kind::Int64),
        };
        Ok(Slot {
            images: empty_channels_last(size, kind, target.device)?,
            labels: Tensor::f_zeros(labels.0, (labels.1, target.device))?,
        })
    }

    pub fn batch(&self) -> usize {
        self.images.size().first().map_or(0, |n| *n as usize)
    }
}

fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Bfloat16 => Kind::BFloat16,
        Dtype::Int64 => Kind::Int64,
        _ => Kind::Float,
    }
}
