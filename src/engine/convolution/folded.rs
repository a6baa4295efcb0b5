//! A batch norm in evaluation mode that is folded into the convolution before it.

use crate::engine::memory::slice;
use crate::engine::values::Lookup;
use crate::error::Result;
use crate::kernels::cpu::batch_norm::{fold, invstd};
use crate::program::{Convolution, ValueId};

/// The scale of the weight and the bias, one number for each output channel.
pub struct Folded {
    pub scale: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Folded {
    /// `None` if there is no batch norm.
    pub fn new(op: &Convolution, lookup: &Lookup<'_>) -> Result<Option<Folded>> {
        let Some(norm) = &op.fold else { return Ok(None) };
        let vector = |value: ValueId| -> Result<Vec<f32>> {
            Ok(slice::<f32>(&lookup(value)?.f_contiguous()?)?.to_vec())
        };
        let optional = |value: Option<ValueId>| value.map(vector).transpose();
        let (mean, var) = (vector(norm.running_mean)?, vector(norm.running_var)?);
        let (weight, shift) = (optional(norm.weight)?, optional(norm.bias)?);
        let (mut scale, mut bias) = (vec![0.0; mean.len()], vec![0.0; mean.len()]);
        let invstd = invstd(&var, norm.eps);
        fold(&mean, &invstd, weight.as_deref(), shift.as_deref(), &mut scale, &mut bias);
        let own = optional(op.bias)?.unwrap_or_default();
        for ((bias, own), scale) in bias.iter_mut().zip(own).zip(&scale) {
            *bias += own * scale;
        }
        Ok(Some(Folded { scale, bias }))
    }
}
