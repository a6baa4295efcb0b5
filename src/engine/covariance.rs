//! Covariance pooling on tensors: unpack, run the kernel, pack.

use half::bf16;
use tch::{Device, Kind, Tensor};

use super::memory::{empty_channels_last, slice, slice_mut, to_channels_last, Element};
use super::AtenPool;
use crate::cpu::Number;
use crate::error::{Error, Result};
use crate::kernels::cpu::covariance::{Backward, Forward, Shape};

/// The settings of the pooling.
#[derive(Clone, Copy, Debug)]
pub struct Pooling {
    pub num_iters: usize,
    pub center: bool,
}

/// The upper triangles of the square roots, `[batch, triangle]`, and the covariances, `[batch,
/// channels, channels]`, of x `[batch, channels, ...]`; both in fp32.
pub fn forward(x: &Tensor, pooling: Pooling) -> Result<(Tensor, Tensor)> {
    match x.f_kind()? {
        Kind::BFloat16 => forward_typed::<bf16>(x, pooling),
        _ => forward_typed::<f32>(x, pooling),
    }
}

/// The gradient of x, with the channel innermost, from the arguments and results of [`forward`].
pub fn backward(
    grad_y: &Tensor,
    x: &Tensor,
    y: &Tensor,
    covariance: &Tensor,
    pooling: Pooling,
) -> Result<Tensor> {
    match x.f_kind()? {
        Kind::BFloat16 => backward_typed::<bf16>(grad_y, x, y, covariance, pooling),
        _ => backward_typed::<f32>(grad_y, x, y, covariance, pooling),
    }
}

fn forward_typed<T: Element + Number>(x: &Tensor, pooling: Pooling) -> Result<(Tensor, Tensor)> {
    let shape = shape(x, pooling)?;
    let x = to_channels_last(x)?;
    let options = (Kind::Float, Device::Cpu);
    let [batch, channels] = [shape.batch as i64, shape.channels as i64];
    let mut y = Tensor::f_empty([batch, shape.triangle() as i64], options)?;
    let mut covariance = Tensor::f_empty([batch, channels, channels], options)?;
    Forward {
        shape,
        x: slice::<T>(&x)?,
        y: slice_mut(&mut y)?,
        covariance: slice_mut(&mut covariance)?,
    }
    .run(&AtenPool)?;
    Ok((y, covariance))
}

fn backward_typed<T: Element + Number>(
    grad_y: &Tensor,
    x: &Tensor,
    y: &Tensor,
    covariance: &Tensor,
    pooling: Pooling,
) -> Result<Tensor> {
    let shape = shape(x, pooling)?;
    let x = to_channels_last(x)?;
    let grad_y = grad_y.f_contiguous()?;
    let mut grad_x = empty_channels_last(x.size(), x.f_kind()?, Device::Cpu)?;
    Backward {
        shape,
        grad_y: slice(&grad_y)?,
        x: slice::<T>(&x)?,
        y: slice(y)?,
        covariance: slice(covariance)?,
        grad_x: slice_mut::<T>(&mut grad_x)?,
    }
    .run(&AtenPool)?;
    Ok(grad_x)
}

fn shape(x: &Tensor, Pooling { num_iters, center }: Pooling) -> Result<Shape> {
    let size = x.size();
    let &[batch, channels, _, ..] = &size[..] else {
        return Err(Error::EmptyCovariance { got: format!("a tensor of {size:?}") });
    };
    let pixels = size[2..].iter().product::<i64>() as usize;
    let [batch, channels] = [batch as usize, channels as usize];
    Ok(Shape { batch, pixels, channels, num_iters, center })
}
