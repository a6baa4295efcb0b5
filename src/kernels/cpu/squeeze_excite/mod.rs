//! What squeeze-and-excitation does to activations (Hu et al., arXiv 1709.01507): the means of an
//! image's channels, and channels times a number of each image. The backward of the latter reads
//! the gradient and the input once, for both of its results.
//!
//! An image is one task; sums are taken in an order that depends on the shape alone.

mod image;
#[cfg(test)]
mod tests;

use image::{Image, Scaling};

use crate::cpu::{check_len, dispatch, run_all, Number, Parallel, Parts};
use crate::error::Result;

/// In which order the elements of an image lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[pixels, channels]`
    ChannelsLast,
    /// `[channels, pixels]`
    Planes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub batch: usize,
    pub channels: usize,
    pub pixels: usize,
    pub layout: Layout,
}

impl Shape {
    fn of_image(&self) -> usize {
        self.channels.saturating_mul(self.pixels)
    }

    /// `slice` holds `of_image` elements for each image.
    fn check_images<T>(&self, name: &'static str, of_image: usize, slice: &[T]) -> Result<()> {
        // No slice is as long as a saturated product: an overflow is refused too.
        check_len(name, self.batch.saturating_mul(of_image), slice.len())
    }
}

/// `y`, the means of `x` over the pixels.
pub struct Means<'a, T> {
    pub shape: Shape,
    /// An image after the other.
    pub x: &'a [T],
    /// `[batch, channels]`
    pub y: &'a mut [T],
}

/// `y = x * scale`
pub struct Scale<'a, T> {
    pub shape: Shape,
    /// An image after the other.
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

/// What belongs to an image.
fn part<T>(all: &[T], image: usize, of_image: usize) -> &[T] {
    &all[image * of_image..][..of_image]
}
