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
    /// The labels of the program; (N,), int64, if it reads none.
    pub labels: Vec<Tensor>,
}

impl Slot {
    /// Allocates the batch inputs of a program, and int64 labels if the program reads no labels.
    pub fn of(program: &Program, target: &Target) -> Result<Slot> {
        let batch = program.inputs.iter().filter(|input| input.role == Role::Batch);
        let mut batch = batch.map(|input| &program.values[input.value.0]);
        let missing = || Error::Capture("the program takes no images".into());
        let images = batch.next().ok_or_else(missing)?;
        let size = images.shape.clone();
        let zeros = |shape: &[i64], kind| Ok(Tensor::f_zeros(shape, (kind, target.device))?);
        let labels = batch.map(|labels| zeros(&labels.shape, labels.dtype.into()));
        let mut labels = labels.collect::<Result<Vec<_>>>()?;
        if labels.is_empty() {
            labels.push(zeros(&size[..1], Kind::Int64)?);
        }
        let images = empty_channels_last(size, kind(images.dtype), target.device)?;
        Ok(Slot { images, labels })
    }

    /// Images and labels in the order of a program's inputs.
    pub fn tensors(&self) -> Vec<&Tensor> {
        [&self.images].into_iter().chain(&self.labels).collect()
    }

    pub fn batch(&self) -> usize {
        self.images.size().first().map_or(0, |n| *n as usize)
    }
}

fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Bfloat16 => Kind::BFloat16,
        _ => Kind::Float,
    }
}
