//! The fused batch norm on tensors: unpack, run the kernel, pack.

use half::bf16;
use tch::{Kind, Tensor};

use super::memory::{slice, slice_mut, to_channels_last, Element};
use super::values::{Lookup, Outputs, Places};
use super::AtenPool;
use crate::cpu::Number;
use crate::error::Result;
use crate::kernels::cpu::batch_norm::{
    fold, invstd, moments, update_running, Apply, Backward, Forward, Mask, Moments, Shape,
};
use crate::program::{self, BatchNorm, BatchNormApply, BatchNormBackward, Statistics, ValueId};

pub fn forward(op: &BatchNorm, lookup: &Lookup<'_>, places: &Places<'_>) -> Result<Outputs> {
    match lookup(op.x)?.f_kind()? {
        Kind::BFloat16 => forward_typed::<bf16>(op, lookup, places),
        _ => forward_typed::<f32>(op, lookup, places),
    }
}

pub fn apply(op: &BatchNormApply, lookup: &Lookup<'_>, places: &Places<'_>) -> Result<Outputs> {
    match lookup(op.x)?.f_kind()? {
        Kind::BFloat16 => apply_typed::<bf16>(op, lookup, places),
        _ => apply_typed::<f32>(op, lookup, places),
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
    let weight = weight.as_ref().map(Vector::slice).transpose()?;
    let bias = bias.as_ref().map(Vector::slice).transpose()?;
    let mut y = places.wanted(0).then(|| places.like(0, &x)).transpose()?;
    let mut mean = places.vector(1, shape.channels)?;
    let mut invstd = places.vector(2, shape.channels)?;
    let (save_mean, save_invstd) = (slice_mut(&mut mean)?, slice_mut(&mut invstd)?);
    let x = slice::<T>(&x)?;
    let known = op.moments.map(|value| moments_of(shape, &lookup(value)?)).transpose()?;
    match (&mut y, known) {
        (Some(y), moments) => Forward {
            shape,
            eps: op.eps,
            activation: op.activation,
            x,
            moments,
            weight,
            bias,
            residual: residual.as_ref().map(slice::<T>).transpose()?,
            y: slice_mut::<T>(y)?,
            save_mean,
            save_invstd,
        }
        .run(&AtenPool)?,
        (None, Some(moments)) => moments.save(op.eps, save_mean, save_invstd),
        (None, None) => moments(&AtenPool, shape, x)?.save(op.eps, save_mean, save_invstd),
    }
    let (running_mean, running_var) = running(op, shape, &mean, &invstd, lookup, places)?.unzip();
    let (mut scale, mut shift) = (None, None);
    if places.wanted(5) {
        let (to_scale, to_shift) = (
            scale.insert(places.vector(5, shape.channels)?),
            shift.insert(places.vector(6, shape.channels)?),
        );
        let (mean, invstd) = (slice(&mean)?, slice(&invstd)?);
        fold(mean, invstd, weight, bias, slice_mut(to_scale)?, slice_mut(to_shift)?);
    }
    Ok(vec![y, Some(mean), Some(invstd), running_mean, running_var, scale, shift])
}

/// The moments that a convolution has computed.
fn moments_of(shape: Shape, moments: &Tensor) -> Result<Moments> {
    let (mean, squares) = slice::<f64>(moments)?.split_at(shape.channels);
    Ok(Moments { count: shape.rows as f64, mean: mean.to_vec(), squares: squares.to_vec() })
}

fn apply_typed<T: Element + Number>(
    op: &BatchNormApply,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
) -> Result<Outputs> {
    let x = to_channels_last(&lookup(op.x)?)?;
    let weight = Vector::optional(op.weight, lookup)?;
    let bias = Vector::optional(op.bias, lookup)?;
    let residual = op.residual.map(|value| to_channels_last(&lookup(value)?)).transpose()?;
    let (mean, invstd) = match op.statistics {
        Statistics::Running { mean, var, eps } => {
            let var = lookup(var)?.f_contiguous()?;
            (lookup(mean)?.f_contiguous()?, Tensor::from_slice(&invstd(slice(&var)?, eps)))
        }
        Statistics::Saved { mean, invstd } => (lookup(mean)?, lookup(invstd)?),
    };
    let mut y = places.like(0, &x)?;
    let apply = Apply {
        shape: shape(&x),
        activation: op.activation,
        x: slice::<T>(&x)?,
        mean: slice(&mean)?,
        invstd: slice(&invstd)?,
        weight: weight.as_ref().map(Vector::slice).transpose()?,
        bias: bias.as_ref().map(Vector::slice).transpose()?,
        residual: residual.as_ref().map(slice::<T>).transpose()?,
        y: slice_mut::<T>(&mut y)?,
    };
    apply.run(&AtenPool)?;
    Ok(vec![Some(y)])
}

/// The running statistics after this step, in new tensors: a program does not modify its inputs.
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

/// The tensor as a matrix of rows (all other dimensions) by channels.
fn shape(x: &Tensor) -> Shape {
    let channels = x.size().get(1).copied().unwrap_or(0) as usize;
    Shape { rows: x.numel().checked_div(channels).unwrap_or(0), channels }
}

/// A per-channel input of the operation, which owns the slice that the kernel reads.
struct Vector(Tensor);

impl Vector {
    fn optional(value: Option<ValueId>, lookup: &Lookup<'_>) -> Result<Option<Vector>> {
        value.map(|value| Ok(Vector(lookup(value)?.f_contiguous()?))).transpose()
    }

    fn slice(&self) -> Result<&[f32]> {
        slice(&self.0)
    }
}
