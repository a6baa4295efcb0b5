//! The square root of the covariance of pixels.

use super::images::each_image;
use super::iterations::Iterate;
use super::pixels::{read, rows_len};
use super::product::{symmetric, Term};
use super::shape::{vanishes, Shape};
use super::square::Layout;
use crate::cpu::{lend, Number, Parallel, Parts};
use crate::error::Result;

const SQUARES: usize = 5;

/// `y = sqrt(tr S) * Y_N` as an upper triangle, where S is the covariance of the channels.
pub struct Forward<'a, T> {
    pub shape: Shape,
    /// `[batch, pixels, channels]`
    pub x: &'a [T],
    /// `[batch, triangle]`, row by row with the diagonal.
    pub y: &'a mut [f32],
    /// `[batch, channels, channels]`: S, which the backward reads.
    pub covariance: &'a mut [f32],
}

impl<T: Number> Forward<'_, T> {
    /// # Errors
    /// The shape is empty or a slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let Forward { shape, x, y, covariance } = self;
        let of_image = shape.pixels * shape.channels;
        shape.check()?;
        shape.check_images("x", of_image, x)?;
        shape.check_images("y", shape.triangle(), y)?;
        shape.check_images("covariance", shape.channels * shape.channels, covariance)?;
        let y = Parts::new(y, shape.triangle());
        let covariance = Parts::new(covariance, shape.channels * shape.channels);
        each_image(parallel, shape, |image, parallel| {
            Image {
                shape,
                x: &x[image * of_image..][..of_image],
                y: y.take(image),
                covariance: covariance.take(image),
            }
            .run(parallel)
        })
    }
}

/// One image.
struct Image<'a, T> {
    shape: Shape,
    x: &'a [T],
    y: &'a mut [f32],
    covariance: &'a mut [f32],
}

impl<T: Number> Image<'_, T> {
    fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let Image { shape, x, y, covariance } = self;
        let layout = Layout::new(shape.channels);
        let len = SQUARES * layout.len() + rows_len(layout, shape.pixels);
        lend(len, |memory: &mut [f32]| {
            let ([a, t, root, z, next], rows) = layout.cut::<SQUARES>(memory);
            read(layout, shape.center, x, rows);
            let term = Term { left: rows, right: rows, depth: shape.pixels };
            symmetric(parallel, layout, &[term], 1.0 / shape.pixels as f32, 0.0, next)?;
            layout.write(next, covariance);
            let trace = layout.trace(next);
            if vanishes(trace) {
                y.fill(0.0);
                return Ok(());
            }
            layout.scaled(next, 1.0 / trace, 0.0, a);
            let mut iterate = Iterate { a, t, y: root, z, next };
            iterate.run(parallel, layout, shape.num_iters)?;
            layout.write_triangle(iterate.y, trace.sqrt(), y);
            Ok(())
        })
    }
}
