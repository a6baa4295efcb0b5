//! The fused batch norm on tensors: unpack, run the kernel, pack.

use half::bf16;
use tch::{Kind, Tensor};

use super::memory::{slice, slice_mut, to_channels_last, Element};
use super::values::{Lookup, Outputs, Places};
use super::AtenPool;
use crate::error::Result;
use crate::kernels::cpu::batch_norm::{update_running, Backward, Forward, Mask, Shape};
use crate::kernels::cpu::Number;
use crate::program::{self, BatchNorm, BatchNormBackward, ValueId};

pub fn forward(op: &BatchNorm, lookup: &Lookup<'_>, places: &Places<'_>) -> Result<Outputs> {
    match lookup(op.x)?.f_kind()? {
        Kind::BFloat16 => forward_typed::<bf16>(op, lookup, places),
        _ => forward_typed::<f32>(op, lookup, places),
    }
}

pub fn backward(
    op: &BatchNormBackward,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
) -> Result<Outputs> {
    match lookup(op.x)?.f_kind()? {
        Kind::BFloat16 => backward_typed::<bf16>(op, lookup, places),
        _ => backward_typed::<f32>(op, lookup, places),
    }
}

fn forward_typed<T: Element + Number>(
    op: &BatchNorm,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
) -> Result<Outputs> {
    let x = to_channels_last(&lookup(op.x)?)?;
    let shape = shape(&x);
    let weight = Vector::optional(op.weight, lookup)?;
    let bias = Vector::optional(op.bias, lookup)?;
    let residual = op.residual.map(|value| to_channels_last(&lookup(value)?)).transpose()?;
    let mut y = places.like(0, &x)?;
    let mut mean = places.vector(1, shape.channels)?;
    let mut invstd = places.vector(2, shape.channels)?;
    let forward = Forward {
        shape,
        eps: op.eps,
        activation: op.activation,
        x: slice::<T>(&x)?,
        moments: None,
        weight: weight.as_ref().map(Vector::slice).transpose()?,
        bias: bias.as_ref().map(Vector::slice).transpose()?,
        residual: residual.as_ref().map(slice::<T>).transpose()?,
        y: slice_mut::<T>(&mut y)?,
        save_mean: slice_mut(&mut mean)?,
        save_invstd: slice_mut(&mut invstd)?,
    };
    forward.run(&AtenPool)?;
    let (running_mean, running_var) = running(op, shape, &mean, &invstd, lookup, places)?.unzip();
    Ok(vec![Some(y), Some(mean), Some(invstd), running_mean, running_var])
}

/// The running statistics after this step, in new tensors: a program changes no input.
fn running(
    op: &BatchNorm,
    shape: Shape,
    mean: &Tensor,
    invstd: &Tensor,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
) -> Result<Option<(Tensor, Tensor)>> {
    let Some((running_mean, running_var)) = op.running else { return Ok(None) };
    let copied = |place, old: Tensor| -> Result<Tensor> {
        let mut new = places.vector(place, shape.channels)?;
        new.f_copy_(&old)?;
        Ok(new)
    };
    let mut running_mean = copied(3, lookup(running_mean)?)?;
    let mut running_var = copied(4, lookup(running_var)?)?;
    update_running(
        shape,
        op.eps,
        op.momentum,
        slice(mean)?,
        slice(invstd)?,
        slice_mut(&mut running_mean)?,
        slice_mut(&mut running_var)?,
    )?;
    Ok(Some((running_mean, running_var)))
}

fn backward_typed<T: Element + Number>(
    op: &BatchNormBackward,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
) -> Result<Outputs> {
    let x = to_channels_last(&lookup(op.x)?)?;
    let shape = shape(&x);
    let grad_y = to_channels_last(&lookup(op.grad_y)?)?;
    let y = match op.mask {
        program::Mask::Output(y) => Some(to_channels_last(&lookup(y)?)?),
        _ => None,
    };
    let bias = match op.mask {
        program::Mask::Recomputed { bias } => Vector::optional(bias, lookup)?,
        _ => None,
    };
    let weight = Vector::optional(op.weight, lookup)?;
    let (mean, invstd) = (lookup(op.save_mean)?, lookup(op.save_invstd)?);
    let mut grad_x = places.like(0, &x)?;
    let mut grad_weight = places.vector(1, shape.channels)?;
    let mut grad_bias = places.vector(2, shape.channels)?;
    let mut grad_residual = places.wanted(3).then(|| places.like(3, &x)).transpose()?;
    let backward = Backward {
        shape,
        grad_y: slice::<T>(&grad_y)?,
        activation: op.activation,
        mask: match (op.mask, &y) {
            (_, Some(y)) => Mask::Output(slice::<T>(y)?),
            (program::Mask::Recomputed { .. }, _) => {
                Mask::Recomputed { bias: bias.as_ref().map(Vector::slice).transpose()? }
            }
            _ => Mask::None,
        },
        sums: None,
        x: slice::<T>(&x)?,
        weight: weight.as_ref().map(Vector::slice).transpose()?,
        save_mean: slice(&mean)?,
        save_invstd: slice(&invstd)?,
        grad_x: slice_mut::<T>(&mut grad_x)?,
        grad_residual: grad_residual.as_mut().map(slice_mut::<T>).transpose()?,
        grad_weight: slice_mut(&mut grad_weight)?,
        grad_bias: slice_mut(&mut grad_bias)?,
    };
    backward.run(&AtenPool)?;
    Ok(vec![Some(grad_x), Some(grad_weight), Some(grad_bias), grad_residual])
}

/// Rows (everything but the channel) by channels.
fn shape(x: &Tensor) -> Shape {
    let channels = x.size().get(1).copied().unwrap_or(0) as usize;
    Shape { rows: x.numel().checked_div(channels).unwrap_or(0), channels }
}

/// A per-channel input of the operation, kept alive while its slice is read.
struct Vector(Tensor);

impl Vector {
    fn optional(value: Option<ValueId>, lookup: &Lookup<'_>) -> Result<Option<Vector>> {
        value.map(|value| Ok(Vector(lookup(value)?.f_contiguous()?))).transpose()
    }

    fn slice(&self) -> Result<&[f32]> {
        slice(&self.0)
    }
}
