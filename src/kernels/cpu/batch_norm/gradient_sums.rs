//! The first backward pass: what the gradients of weight and bias, and then of `x`, are made of.

use super::tiling::{load, store, windows, Tiling, WINDOW};
use super::Shape;
use crate::error::Result;
use crate::instructions::{vectorized, Vectorized};
use crate::kernels::cpu::parallel::{run_all, Parallel};
use crate::kernels::cpu::parts::Parts;
use crate::kernels::cpu::Element;

/// The sums of `g` and of `g * (x - mean)` over each channel, `g` being `grad_y` where the ReLU let
/// it through; writes `g` into `grad_residual`. All slices have been checked.
///
/// Sums are f32 within a block of rows and f64 beyond.
pub(super) fn gradient_sums<T: Element>(
    parallel: &dyn Parallel,
    shape: Shape,
    grad_y: &[T],
    y: Option<&[T]>,
    x: &[T],
    mean: &[f32],
    grad_residual: Option<&mut [T]>,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let tiling = Tiling::new(shape);
    let channels = shape.channels;
    let mean = &tiling.spread(mean)[..];
    let mut partial = vec![0.0; tiling.tasks() * 2 * channels];
    let results = Parts::new(&mut partial, 2 * channels);
    let written = grad_residual.map(|grad| Parts::new(grad, tiling.part()));
    run_all(parallel, tiling.tasks(), |task| {
        let range = tiling.range(task);
        let (grad, x, result) = (&grad_y[range.clone()], &x[range.clone()], results.take(task));
        let out = written.as_ref().map(|parts| parts.take(task));
        match (y.map(|y| &y[range]), out) {
            (None, None) => {
                let out = &mut [];
                vectorized(Pass::<T, false, false> { tiling, mean, grad, y: &[], x, out, result })
            }
            (Some(y), None) => {
                let out = &mut [];
                vectorized(Pass::<T, true, false> { tiling, mean, grad, y, x, out, result })
            }
            (None, Some(out)) => {
                vectorized(Pass::<T, false, true> { tiling, mean, grad, y: &[], x, out, result })
            }
            (Some(y), Some(out)) => {
                vectorized(Pass::<T, true, true> { tiling, mean, grad, y, x, out, result })
            }
        }
    })?;

    let mut total = vec![0.0; 2 * channels];
    partial.chunks_exact(2 * channels).for_each(|partial| add(&mut total, partial));
    let product = total.split_off(channels);
    Ok((total, product))
}

#[inline(always)]
fn add(total: &mut [f64], values: &[f64]) {
    for (t, v) in total.iter_mut().zip(values) {
        *t += v;
    }
}

/// One task: the sums of its rows, those of `g` first in `result`; `g` itself goes to `out`.
struct Pass<'a, T, const RELU: bool, const WRITE: bool> {
    tiling: Tiling,
    mean: &'a [f32],
    grad: &'a [T],
    y: &'a [T],
    x: &'a [T],
    out: &'a mut [T],
    result: &'a mut [f64],
}

impl<T: Element, const RELU: bool, const WRITE: bool> Vectorized for Pass<'_, T, RELU, WRITE> {
    #[inline(always)]
    fn run(mut self) {
        let (wide, end) = (self.tiling.wide(self.x.len()), self.x.len());
        let (lanes, channels) = (self.tiling.lanes(), self.tiling.channels);
        let (mut sum, mut product) = (vec![0.0; lanes], vec![0.0; lanes]);
        let block = self.tiling.block();
        for from in (0..wide).step_by(block) {
            let to = (from + block).min(wide);
            self.rows::<WINDOW>(from, to, lanes, &mut sum, &mut product);
        }
        self.rows::<1>(wide, end, channels, &mut sum, &mut product);

        let (total, total_product) = self.result.split_at_mut(channels);
        sum.chunks_exact(channels).for_each(|sum| add(total, sum));
        product.chunks_exact(channels).for_each(|product| add(total_product, product));
    }
}

impl<T: Element, const RELU: bool, const WRITE: bool> Pass<'_, T, RELU, WRITE> {
    /// The rows of `lanes` elements that lie between `from` and `to`.
    #[inline(always)]
    fn rows<const W: usize>(
        &mut self,
        from: usize,
        to: usize,
        lanes: usize,
        sum: &mut [f64],
        product: &mut [f64],
    ) {
        for (start, covered) in windows::<W>(lanes) {
            let mean: [f32; W] = load(self.mean, start);
            let (mut s, mut p) = ([0.0f32; W], [0.0f32; W]);
            for row in (from..to).step_by(lanes) {
                let mut g: [f32; W] = load(self.grad, row + start);
                if RELU {
                    let y: [f32; W] = load(self.y, row + start);
                    for i in 0..W {
                        g[i] = if y[i] <= 0.0 { 0.0 } else { g[i] };
                    }
                }
                let x: [f32; W] = load(self.x, row + start);
                for i in 0..W {
                    s[i] += g[i];
                    p[i] += g[i] * (x[i] - mean[i]);
                }
                if WRITE {
                    store(g, self.out, row + start);
                }
            }
            for i in covered..W {
                sum[start + i] += s[i] as f64;
                product[start + i] += p[i] as f64;
            }
        }
    }
}
