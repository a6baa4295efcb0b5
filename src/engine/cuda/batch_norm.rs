//! Batch norm, fused with the residual add and the activation that follow it.

use tch::{Kind, Tensor};

use super::operand::{address, number, optional, scratch, Vector};
use crate::engine::memory::to_channels_last;
use crate::engine::values::{Lookup, Outputs, Places};
use crate::error::Result;
use crate::kernels::cuda::batch_norm::{invstd, partial_len, Apply, Backward, Forward, Shape};
use crate::kernels::cuda::Device;
use crate::program::{BatchNorm, BatchNormApply, BatchNormBackward, Mask, Statistics, ValueId};

pub fn forward(
    op: &BatchNorm,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
    device: &dyn Device,
) -> Result<Outputs> {
    let x = to_channels_last(&lookup(op.x)?)?;
    let shape = shape(&x)?;
    let (weight, bias) = (Vector::optional(op.weight, lookup)?, Vector::optional(op.bias, lookup)?);
    let residual = matrix(op.residual, lookup)?;
    let (old_mean, old_var) = op.running.unzip();
    let (old_mean, old_var) =
        (Vector::optional(old_mean, lookup)?, Vector::optional(old_var, lookup)?);
    let vector = |place: usize| places.vector(place, shape.channels);
    let y = places.like(0, &x)?;
    let (mean, invstd) = (vector(1)?, vector(2)?);
    let running = match op.running {
        Some(_) => (Some(vector(3)?), Some(vector(4)?)),
        None => (None, None),
    };
    let partial = scratch(partial_len(shape, device)?, Kind::Float, places)?;
    let forward = Forward {
        shape,
        eps: op.eps as f32,
        momentum: op.momentum as f32,
        activation: op.activation,
        x: address(&x)?,
        weight: weight.address()?,
        bias: bias.address()?,
        residual: optional(residual.as_ref())?,
        y: address(&y)?,
        save_mean: address(&mean)?,
        save_invstd: address(&invstd)?,
        running_mean: old_mean.address()?,
        running_var: old_var.address()?,
        new_mean: optional(running.0.as_ref())?,
        new_var: optional(running.1.as_ref())?,
        partial: address(&partial)?,
    };
    // SAFETY: the tensors have these sizes; torch reuses their memory only for later launches.
    unsafe { forward.launch(device) }?;
    Ok(vec![Some(y), Some(mean), Some(invstd), running.0, running.1, None, None])
}

pub fn apply(
    op: &BatchNormApply,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
    device: &dyn Device,
) -> Result<Outputs> {
    let x = to_channels_last(&lookup(op.x)?)?;
    let shape = shape(&x)?;
    let (weight, bias) = (Vector::optional(op.weight, lookup)?, Vector::optional(op.bias, lookup)?);
    let residual = matrix(op.residual, lookup)?;
    let (mean, spread) = match op.statistics {
        Statistics::Running { mean, var, eps } => {
            let var = Vector::optional(Some(var), lookup)?;
            let spread = scratch(shape.channels, Kind::Float, places)?;
            let (from, to) = (var.address()?, address(&spread)?);
            // SAFETY: vectors of one number for each channel.
            unsafe { invstd(device, from, shape.channels, eps as f32, to) }?;
            (mean, spread)
        }
        Statistics::Saved { mean, invstd } => (mean, lookup(invstd)?),
    };
    let mean = Vector::optional(Some(mean), lookup)?;
    let y = places.like(0, &x)?;
    let apply = Apply {
        shape,
        activation: op.activation,
        x: address(&x)?,
        mean: mean.address()?,
        invstd: address(&spread)?,
        weight: weight.address()?,
        bias: bias.address()?,
        residual: optional(residual.as_ref())?,
        y: address(&y)?,
    };
    // SAFETY: as for the forward.
    unsafe { apply.launch(device) }?;
    Ok(vec![Some(y)])
}

pub fn backward(
    op: &BatchNormBackward,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
    device: &dyn Device,
) -> Result<Outputs> {
    let x = to_channels_last(&lookup(op.x)?)?;
    let shape = shape(&x)?;
    let grad_y = to_channels_last(&lookup(op.grad_y)?)?;
    let (y, bias) = match op.mask {
        Mask::Output(y) => (Some(y), None),
        Mask::Recomputed { bias } => (None, bias),
        Mask::None => (None, None),
    };
    let (y, bias) = (matrix(y, lookup)?, Vector::optional(bias, lookup)?);
    let weight = Vector::optional(op.weight, lookup)?;
    let (mean, invstd) = (lookup(op.save_mean)?, lookup(op.save_invstd)?);
    let grad_x = places.like(0, &x)?;
    let grad_weight = places.vector(1, shape.channels)?;
    let grad_bias = places.vector(2, shape.channels)?;
    let grad_residual = places.wanted(3).then(|| places.like(3, &x)).transpose()?;
    let partial = scratch(partial_len(shape, device)?, Kind::Float, places)?;
    let lines = scratch(2 * shape.channels, Kind::Float, places)?;
    let backward = Backward {
        shape,
        activation: op.activation,
        grad_y: address(&grad_y)?,
        y: optional(y.as_ref())?,
        x: address(&x)?,
        weight: weight.address()?,
        bias: bias.address()?,
        save_mean: address(&mean)?,
        save_invstd: address(&invstd)?,
        grad_x: address(&grad_x)?,
        grad_residual: optional(grad_residual.as_ref())?,
        grad_weight: address(&grad_weight)?,
        grad_bias: address(&grad_bias)?,
        lines: address(&lines)?,
        partial: address(&partial)?,
    };
    // SAFETY: as for the forward.
    unsafe { backward.launch(device) }?;
    Ok(vec![Some(grad_x), Some(grad_weight), Some(grad_bias), grad_residual])
}

fn matrix(value: Option<ValueId>, lookup: &Lookup<'_>) -> Result<Option<Tensor>> {
    value.map(|value| to_channels_last(&lookup(value)?)).transpose()
}

/// The tensor as a matrix of rows (all other dimensions) by channels.
fn shape(x: &Tensor) -> Result<Shape> {
    let channels = x.size().get(1).copied().unwrap_or(0) as usize;
    let rows = x.numel().checked_div(channels).unwrap_or(0);
    Ok(Shape { rows, channels, number: number(x)? })
}
