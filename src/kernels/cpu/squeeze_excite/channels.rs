//! Means of the channels of each image, and channels scaled by a number for each image.

use super::image::{Image, Scaling};
use super::Shape;
use crate::cpu::{dispatch, run_all, Number, Parallel, Parts};
use crate::error::Result;

/// `y`, the means of `x` over the pixels.
pub struct Means<'a, T> {
    pub shape: Shape,
    /// One image after another.
    pub x: &'a [T],
    /// `[batch, channels]`
    pub y: &'a mut [T],
}

/// `y = x * scale`
pub struct Scale<'a, T> {
    pub shape: Shape,
    /// One image after another.
    pub x: &'a [T],
    /// `[batch, channels]`
    pub scale: &'a [T],
    pub y: &'a mut [T],
}

/// `grad_x = grad_y * scale`, and `grad_scale`, the sums of `grad_y * x` over the pixels.
pub struct ScaleBackward<'a, T> {
    pub shape: Shape,
    pub grad_y: &'a [T],
    pub x: &'a [T],
    /// `[batch, channels]`
    pub scale: &'a [T],
    pub grad_x: &'a mut [T],
    /// `[batch, channels]`
    pub grad_scale: &'a mut [T],
}

impl<T: Number> Means<'_, T> {
    /// # Errors
    /// A slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let Means { shape, x, y } = self;
        shape.check_images("x", shape.of_image(), x)?;
        shape.check_images("y", shape.channels, y)?;
        let y = Parts::new(y, shape.channels);
        run_all(parallel, shape.batch, |image| {
            dispatch(Image {
                shape,
                with: part(x, image, shape.of_image()),
                sums: y.take(image),
                factor: 1.0 / shape.pixels as f32,
                scaling: None,
            });
        })
    }
}

impl<T: Number> Scale<'_, T> {
    /// # Errors
    /// A slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let Scale { shape, x, scale, y } = self;
        shape.check_images("x", shape.of_image(), x)?;
        shape.check_images("scale", shape.channels, scale)?;
        shape.check_images("y", shape.of_image(), y)?;
        let y = Parts::new(y, shape.of_image());
        run_all(parallel, shape.batch, |image| {
            dispatch(Image {
                shape,
                with: &[],
                sums: &mut [],
                factor: 1.0,
                scaling: Some(Scaling {
                    from: part(x, image, shape.of_image()),
                    scale: part(scale, image, shape.channels),
                    to: y.take(image),
                }),
            });
        })
    }
}

impl<T: Number> ScaleBackward<'_, T> {
    /// # Errors
    /// A slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let ScaleBackward { shape, grad_y, x, scale, grad_x, grad_scale } = self;
        shape.check_images("grad_y", shape.of_image(), grad_y)?;
        shape.check_images("x", shape.of_image(), x)?;
        shape.check_images("scale", shape.channels, scale)?;
        shape.check_images("grad_x", shape.of_image(), grad_x)?;
        shape.check_images("grad_scale", shape.channels, grad_scale)?;
        let grad_x = Parts::new(grad_x, shape.of_image());
        let grad_scale = Parts::new(grad_scale, shape.channels);
        run_all(parallel, shape.batch, |image| {
            dispatch(Image {
                shape,
                with: part(x, image, shape.of_image()),
                sums: grad_scale.take(image),
                factor: 1.0,
                scaling: Some(Scaling {
                    from: part(grad_y, image, shape.of_image()),
                    scale: part(scale, image, shape.channels),
                    to: grad_x.take(image),
                }),
            });
        })
    }
}

/// The elements of one image.
fn part<T>(all: &[T], image: usize, of_image: usize) -> &[T] {
    &all[image * of_image..][..of_image]
}
