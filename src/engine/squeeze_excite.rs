//! Means of channels, and channels scaled by a number for each image, on tensors.

use half::bf16;
use tch::{Kind, Tensor};

use super::memory::{is_channels_last, slice, slice_mut, to_channels_last, Element};
use super::AtenPool;
use crate::cpu::Number;
use crate::error::{Error, Result};
use crate::kernels::cpu::squeeze_excite::{Layout, Means, Scale, ScaleBackward, Shape};

/// The means `[batch, channels]` of x `[batch, channels, ...]`.
pub fn means(x: &Tensor) -> Result<Tensor> {
    match x.f_kind()? {
        Kind::BFloat16 => means_typed::<bf16>(x),
        _ => means_typed::<f32>(x),
    }
}

/// `x * scale` in the layout of x, for x `[batch, channels, ...]` and a scale `[batch, channels]` of
/// the same type.
pub fn scale(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    match x.f_kind()? {
        Kind::BFloat16 => scale_typed::<bf16>(x, scale),
        _ => scale_typed::<f32>(x, scale),
    }
}

/// The gradients of x and of the scale.
pub fn scale_backward(grad_y: &Tensor, x: &Tensor, scale: &Tensor) -> Result<(Tensor, Tensor)> {
    match x.f_kind()? {
        Kind::BFloat16 => scale_backward_typed::<bf16>(grad_y, x, scale),
        _ => scale_backward_typed::<f32>(grad_y, x, scale),
    }
}

fn means_typed<T: Element + Number>(x: &Tensor) -> Result<Tensor> {
    let shape = shape(x)?;
    let x = laid_out(x, shape.layout)?;
    let size = [shape.batch as i64, shape.channels as i64];
    let mut y = Tensor::f_empty(size, (x.f_kind()?, x.device()))?;
    Means { shape, x: slice::<T>(&x)?, y: slice_mut(&mut y)? }.run(&AtenPool)?;
    Ok(y)
}

fn scale_typed<T: Element + Number>(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let shape = scaled_shape(x, scale)?;
    let x = laid_out(x, shape.layout)?;
    let scale = scale.f_contiguous()?;
    let mut y = x.f_empty_like()?;
    Scale { shape, x: slice::<T>(&x)?, scale: slice(&scale)?, y: slice_mut(&mut y)? }
        .run(&AtenPool)?;
    Ok(y)
}

fn scale_backward_typed<T: Element + Number>(
    grad_y: &Tensor,
    x: &Tensor,
    scale: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let shape = scaled_shape(x, scale)?;
    let (x, grad_y) = (laid_out(x, shape.layout)?, laid_out(grad_y, shape.layout)?);
    let scale = scale.f_contiguous()?;
    let (mut grad_x, mut grad_scale) = (x.f_empty_like()?, scale.f_empty_like()?);
    ScaleBackward {
        shape,
        grad_y: slice::<T>(&grad_y)?,
        x: slice(&x)?,
        scale: slice(&scale)?,
        grad_x: slice_mut(&mut grad_x)?,
        grad_scale: slice_mut(&mut grad_scale)?,
    }
    .run(&AtenPool)?;
    Ok((grad_x, grad_scale))
}

fn scaled_shape(x: &Tensor, scale: &Tensor) -> Result<Shape> {
    let (size, of_scale) = (x.size(), scale.size());
    match size.len() >= 3 && of_scale == size[..2] {
        true => shape(x),
        false => Err(Error::ChannelScale { got: format!("{size:?} and a scale {of_scale:?}") }),
    }
}

/// The layout is planes for contiguous tensors, and channels last for all others.
fn shape(x: &Tensor) -> Result<Shape> {
    let size = x.size();
    let &[batch, channels, _, ..] = &size[..] else {
        return Err(Error::ChannelScale { got: format!("{size:?}") });
    };
    let layout = match x.is_contiguous() && !is_channels_last(x) {
        true => Layout::Planes,
        false => Layout::ChannelsLast,
    };
    let pixels = size[2..].iter().product::<i64>() as usize;
    Ok(Shape { batch: batch as usize, channels: channels as usize, pixels, layout })
}

fn laid_out(tensor: &Tensor, layout: Layout) -> Result<Tensor> {
    match layout {
        Layout::Planes => Ok(tensor.f_contiguous()?),
        Layout::ChannelsLast => to_channels_last(tensor),
    }
}
