//! Attention on tensors: unpack, run the kernel, pack.

use half::bf16;
use tch::{Kind, Tensor};

use super::memory::{reach, slice, slice_mut, Element};
use super::values::{Lookup, Outputs, Places};
use super::AtenPool;
use crate::cpu::Number;
use crate::error::{Error, Result};
use crate::kernels::cpu::attention::{Backward, Forward, Operand, Shape, Strides};
use crate::program::{Attention, AttentionBackward};

pub fn forward(op: &Attention, lookup: &Lookup<'_>, places: &Places<'_>) -> Result<Outputs> {
    match lookup(op.q)?.f_kind()? {
        Kind::BFloat16 => forward_typed::<bf16>(op, lookup, places),
        _ => forward_typed::<f32>(op, lookup, places),
    }
}

pub fn backward(
    op: &AttentionBackward,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
) -> Result<Outputs> {
    match lookup(op.q)?.f_kind()? {
        Kind::BFloat16 => backward_typed::<bf16>(op, lookup, places),
        _ => backward_typed::<f32>(op, lookup, places),
    }
}

fn forward_typed<T: Element + Number>(
    op: &Attention,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
) -> Result<Outputs> {
    let [q, k, v] = [vectors(&lookup(op.q)?)?, vectors(&lookup(op.k)?)?, vectors(&lookup(op.v)?)?];
    let shape = shape(&q)?;
    let [batch, heads, tokens, features] = sizes(shape);
    let mut y = places.contiguous(0, &[batch, tokens, heads, features], q.f_kind()?)?;
    let mut logsumexp = places.contiguous(1, &[batch, heads, tokens], Kind::Float)?;
    Forward {
        shape,
        scale: op.scale as f32,
        q: operand::<T>(&q)?,
        k: operand::<T>(&k)?,
        v: operand::<T>(&v)?,
        y: slice_mut::<T>(&mut y)?,
        logsumexp: slice_mut(&mut logsumexp)?,
    }
    .run(&AtenPool)?;
    Ok(vec![Some(y.f_transpose(1, 2)?), Some(logsumexp)])
}

fn backward_typed<T: Element + Number>(
    op: &AttentionBackward,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
) -> Result<Outputs> {
    let [q, k, v] = [vectors(&lookup(op.q)?)?, vectors(&lookup(op.k)?)?, vectors(&lookup(op.v)?)?];
    let grad_y = vectors(&lookup(op.grad_y)?)?;
    let logsumexp = lookup(op.logsumexp)?.f_contiguous()?;
    let shape = shape(&q)?;
    let [batch, heads, tokens, features] = sizes(shape);
    let size = [batch, tokens, 3, heads, features];
    let mut grad_qkv = places.contiguous(0, &size, q.f_kind()?)?;
    Backward {
        shape,
        scale: op.scale as f32,
        grad_y: operand::<T>(&grad_y)?,
        q: operand::<T>(&q)?,
        k: operand::<T>(&k)?,
        v: operand::<T>(&v)?,
        logsumexp: slice(&logsumexp)?,
        grad_qkv: slice_mut::<T>(&mut grad_qkv)?,
    }
    .run(&AtenPool)?;
    Ok(vec![Some(grad_qkv)])
}

/// The tensor, or a copy of it, with the features of a vector side by side.
fn vectors(tensor: &Tensor) -> Result<Tensor> {
    match tensor.stride().last() {
        Some(1) => Ok(tensor.shallow_clone()),
        _ => Ok(tensor.f_contiguous()?),
    }
}

fn shape(q: &Tensor) -> Result<Shape> {
    match q.size()[..] {
        [batch, heads, tokens, features] => {
            let [batch, heads, tokens, features] =
                [batch, heads, tokens, features].map(|size| size as usize);
            Ok(Shape { batch, heads, tokens, features })
        }
        _ => Err(Error::Capture("an attention is not of four dimensions".into())),
    }
}

fn sizes(shape: Shape) -> [i64; 4] {
    [shape.batch, shape.heads, shape.tokens, shape.features].map(|size| size as i64)
}

fn operand<T: Element>(tensor: &Tensor) -> Result<Operand<'_, T>> {
    let stride = tensor.stride();
    let [image, head, token] = [stride[0], stride[1], stride[2]].map(|stride| stride as usize);
    Ok(Operand { data: reach(tensor)?, strides: Strides { image, head, token } })
}
