//! The gradient of the pixels from the gradient of the square root.

use super::images::each_image;
use super::iterations::{Iterate, Tangent};
use super::pixels::{read, rows_len, write};
use super::product::rows_times_square;
use super::shape::{vanishes, Shape};
use super::square::Layout;
use crate::cpu::{lend, Number, Parallel, Parts};
use crate::error::Result;

const SQUARES: usize = 9;

/// The gradient of `x`, from the inputs and outputs of a [`Forward`](super::Forward).
pub struct Backward<'a, T> {
    pub shape: Shape,
    /// `[batch, triangle]`
    pub grad_y: &'a [f32],
    /// `[batch, pixels, channels]`
    pub x: &'a [T],
    /// `[batch, triangle]`
    pub y: &'a [f32],
    /// `[batch, channels, channels]`
    pub covariance: &'a [f32],
    /// `[batch, pixels, channels]`
    pub grad_x: &'a mut [T],
}

impl<T: Number> Backward<'_, T> {
    /// # Errors
    /// The shape is empty or a slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let Backward { shape, grad_y, x, y, covariance, grad_x } = self;
        let (of_image, triangle) = (shape.pixels * shape.channels, shape.triangle());
        let square = shape.channels * shape.channels;
        shape.check()?;
        shape.check_images("grad_y", triangle, grad_y)?;
        shape.check_images("x", of_image, x)?;
        shape.check_images("y", triangle, y)?;
        shape.check_images("covariance", square, covariance)?;
        shape.check_images("grad_x", of_image, grad_x)?;
        let grad_x = Parts::new(grad_x, of_image);
        each_image(parallel, shape, |image, parallel| {
            Image {
                shape,
                grad_y: &grad_y[image * triangle..][..triangle],
                x: &x[image * of_image..][..of_image],
                y: &y[image * triangle..][..triangle],
                covariance: &covariance[image * square..][..square],
                grad_x: grad_x.take(image),
            }
            .run(parallel)
        })
    }
}

/// One image.
struct Image<'a, T> {
    shape: Shape,
    grad_y: &'a [f32],
    x: &'a [T],
    y: &'a [f32],
    covariance: &'a [f32],
    grad_x: &'a mut [T],
}

impl<T: Number> Image<'_, T> {
    fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let Image { shape, grad_y, x, y, covariance, grad_x } = self;
        let layout = Layout::new(shape.channels);
        let pixels = rows_len(layout, shape.pixels);
        lend(SQUARES * layout.len() + 2 * pixels, |memory: &mut [f32]| {
            let (squares, rest) = layout.cut::<SQUARES>(memory);
            let [a, t, root, z, next, tangent_a, tangent_t, tangent_y, tangent_z] = squares;
            let (rows, out) = rest.split_at_mut(pixels);
            layout.read(covariance, next);
            let trace = layout.trace(next);
            if vanishes(trace) {
                grad_x.fill(T::from_f32(0.0));
                return Ok(());
            }
            layout.scaled(next, 1.0 / trace, 0.0, a);
            layout.read_triangle(grad_y, trace.sqrt(), tangent_a);
            let mut iterate = Iterate { a, t, y: root, z, next };
            let mut tangent = Tangent { a: tangent_a, t: tangent_t, y: tangent_y, z: tangent_z };
            iterate.run_with(parallel, &mut tangent, layout, shape.num_iters)?;
            // The derivative of y = sqrt(tr S) p(S / tr S) by the trace, outside of p and inside.
            let outside = inner(grad_y, y) / (2.0 * f64::from(trace));
            let inside = layout.inner(tangent.y, iterate.a) / f64::from(trace);
            let grad_s = &mut *iterate.t;
            let diagonal = (outside - inside) as f32;
            layout.scaled(tangent.y, 1.0 / trace, diagonal, grad_s);
            read(layout, shape.center, x, rows);
            let share = 2.0 / shape.pixels as f32;
            rows_times_square(parallel, layout, rows, grad_s, share, out)?;
            write(layout, out, grad_x);
            Ok(())
        })
    }
}

fn inner(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
