//! Layer norm on tensors: unpack, run the kernel, pack.

use half::bf16;
use tch::{Kind, Tensor};

use super::memory::{slice, slice_mut, Element};
use super::values::{Lookup, Outputs, Places};
use super::AtenPool;
use crate::cpu::Number;
use crate::error::Result;
use crate::kernels::cpu::layer_norm::{Backward, Forward, Shape};
use crate::program::{Dtype, LayerNorm, LayerNormBackward, ValueId};

/// `dtype` is that of y.
pub fn forward(
    op: &LayerNorm,
    dtype: Dtype,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
) -> Result<Outputs> {
    match (lookup(op.x)?.f_kind()?, dtype) {
        (Kind::BFloat16, _) => forward_typed::<bf16, bf16>(op, lookup, places),
        (_, Dtype::Bfloat16) => forward_typed::<f32, bf16>(op, lookup, places),
        _ => forward_typed::<f32, f32>(op, lookup, places),
    }
}

pub fn backward(
    op: &LayerNormBackward,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
) -> Result<Outputs> {
    match (lookup(op.x)?.f_kind()?, lookup(op.grad_y)?.f_kind()?) {
        (Kind::BFloat16, _) => backward_typed::<bf16, bf16>(op, lookup, places),
        (_, Kind::BFloat16) => backward_typed::<f32, bf16>(op, lookup, places),
        _ => backward_typed::<f32, f32>(op, lookup, places),
    }
}

fn forward_typed<T: Element + Number, Y: Element + Number>(
    op: &LayerNorm,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
) -> Result<Outputs> {
    let x = lookup(op.x)?.f_contiguous()?;
    let shape = shape(&x, op.dims);
    let [weight, bias] = [contiguous(op.weight, lookup)?, contiguous(op.bias, lookup)?];
    let mut y = places.contiguous(0, &x.size(), Y::KIND)?;
    let size = statistics(&x, op.dims);
    let mut mean = places.contiguous(1, &size, Kind::Float)?;
    let mut rstd = places.contiguous(2, &size, Kind::Float)?;
    Forward {
        shape,
        eps: op.eps,
        x: slice::<T>(&x)?,
        weight: weight.as_ref().map(slice).transpose()?,
        bias: bias.as_ref().map(slice).transpose()?,
        y: slice_mut::<Y>(&mut y)?,
        mean: slice_mut(&mut mean)?,
        rstd: slice_mut(&mut rstd)?,
    }
    .run(&AtenPool)?;
    Ok(vec![Some(y), Some(mean), Some(rstd)])
}

fn backward_typed<T: Element + Number, G: Element + Number>(
    op: &LayerNormBackward,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
) -> Result<Outputs> {
    let x = lookup(op.x)?.f_contiguous()?;
    let grad_y = lookup(op.grad_y)?.f_contiguous()?;
    let [mean, rstd] = [lookup(op.mean)?.f_contiguous()?, lookup(op.rstd)?.f_contiguous()?];
    let [weight, add] = [contiguous(op.weight, lookup)?, contiguous(op.add, lookup)?];
    let mut grad_x = places.contiguous(0, &x.size(), T::KIND)?;
    let has_sums = places.wanted(1) || places.wanted(2);
    let size = x.size();
    let normalized = &size[size.len() - op.dims..];
    let sums = |place| places.contiguous(place, normalized, Kind::Float);
    let mut sums = match has_sums {
        true => Some([sums(1)?, sums(2)?]),
        false => None,
    };
    let copy = || places.contiguous(3, &x.size(), Kind::BFloat16);
    let mut copy = places.wanted(3).then(copy).transpose()?;
    Backward {
        shape: shape(&x, op.dims),
        grad_y: slice::<G>(&grad_y)?,
        x: slice::<T>(&x)?,
        mean: slice(&mean)?,
        rstd: slice(&rstd)?,
        weight: weight.as_ref().map(slice).transpose()?,
        add: add.as_ref().map(slice::<T>).transpose()?,
        grad_x: slice_mut::<T>(&mut grad_x)?,
        copy: copy.as_mut().map(slice_mut::<bf16>).transpose()?,
        sums: match &mut sums {
            Some([weight, bias]) => Some([slice_mut(weight)?, slice_mut(bias)?]),
            None => None,
        },
    }
    .run(&AtenPool)?;
    let [grad_weight, grad_bias] = match sums {
        Some(sums) => sums.map(Some),
        None => [None, None],
    };
    Ok(vec![Some(grad_x), grad_weight, grad_bias, copy])
}

fn contiguous(value: Option<ValueId>, lookup: &Lookup<'_>) -> Result<Option<Tensor>> {
    value.map(|value| Ok(lookup(value)?.f_contiguous()?)).transpose()
}

/// Each row has the elements of the last dimensions.
fn shape(x: &Tensor, dims: usize) -> Shape {
    let size = x.size();
    let elements = |size: &[i64]| size.iter().map(|size| *size as usize).product();
    let (rows, features) = size.split_at(size.len() - dims);
    Shape { rows: elements(rows), features: elements(features) }
}

/// The size of the statistics: that of x, with ones for the last dimensions.
fn statistics(x: &Tensor, dims: usize) -> Vec<i64> {
    let mut size = x.size();
    let first = size.len() - dims;
    size[first..].fill(1);
    size
}
