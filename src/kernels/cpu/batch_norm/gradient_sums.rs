//! The first backward pass: the sums that the gradients of weight, bias and `x` are computed from.

use std::ops::Range;

use super::affine::Affine;
use super::lanes::{add_to, load, store, Window};
use super::masking::Masking;
use super::normalize::Task;
use super::sweep::{cut, Operands, Pass};
use super::tiling::Tiling;
use super::Shape;
use crate::cpu::{dispatch, run_all, Number, Parallel, Parts, SharedSlice, Simd, LANES};
use crate::error::Result;

/// Sums over the rows for each channel, where `g` is the gradient before the activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    /// The sum of `g`.
    pub grad: Vec<f64>,
    /// The sum of `g * (x - mean)`.
    pub product: Vec<f64>,
}

impl Sums {
    pub(super) fn save(&self, invstd: &[f32], grad_weight: &mut [f32], grad_bias: &mut [f32]) {
        for (grad, sum) in grad_bias.iter_mut().zip(&self.grad) {
            *grad = *sum as f32;
        }
        for (grad, (product, invstd)) in grad_weight.iter_mut().zip(self.product.iter().zip(invstd))
        {
            *grad = (product * *invstd as f64) as f32;
        }
    }
}

/// Inputs: grad_y, x, y. Output: g. Sums are f32 within a window and f64 beyond.
pub(super) struct GradientSums<'a> {
    pub affine: &'a Affine,
    pub masking: Masking,
    pub sum: &'a mut [f64],
    pub product: &'a mut [f64],
}

impl<T: Number> Pass<T> for GradientSums<'_> {
    #[inline(always)]
    unsafe fn window<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        operands: &Operands<T>,
        window: Window,
        lane: usize,
        fresh: Range<usize>,
    ) {
        let [grad, x, y] = operands.inputs;
        let written = operands.outputs[0];
        let affine = self.affine.lanes::<S, V>(simd, lane);
        let (mut sum, mut product) = ([simd.zero(); V], [simd.zero(); V]);
        for row in 0..window.rows {
            let at = window.at + row * window.stride;
            // SAFETY: `at` is a row of the window, which lies in the operands.
            unsafe {
                let mut g: [S::F; V] = load(simd, grad.as_ptr().add(at));
                let mut d: [S::F; V] = load(simd, x.as_ptr().add(at));
                affine.center(simd, &mut d);
                self.masking.apply(simd, &affine, y, at, &d, &mut g);
                for i in 0..V {
                    sum[i] = simd.add(sum[i], g[i]);
                    product[i] = simd.add(product[i], simd.mul(g[i], d[i]));
                }
                if !written.is_empty() {
                    store(simd, written.at(at, V * LANES), g);
                }
            }
        }
        add_to(simd, self.sum, lane, fresh.clone(), sum);
        add_to(simd, self.product, lane, fresh, product);
    }
}

/// The sums; writes `g` into `grad_residual`. All slices have been checked.
pub(super) fn gradient_sums<T: Number>(
    parallel: &dyn Parallel,
    shape: Shape,
    affine: &Affine,
    masking: Masking,
    inputs: [&[T]; 3],
    grad_residual: Option<&mut [T]>,
) -> Result<Sums> {
    let tiling = Tiling::new(shape);
    let channels = shape.channels;
    let affine = &affine.spread(&tiling);
    let mut partial = vec![0.0; tiling.tasks() * 2 * channels];
    let results = Parts::new(&mut partial, 2 * channels);
    let written = grad_residual.map(|grad| Parts::new(grad, tiling.part()));
    run_all(parallel, tiling.tasks(), |task| {
        let range = tiling.range(task);
        let inputs = inputs.map(|matrix| cut(matrix, &range));
        let written =
            written.as_ref().map_or(SharedSlice::new(&mut []), |w| SharedSlice::new(w.take(task)));
        let operands = Operands { inputs, outputs: [written, SharedSlice::new(&mut [])] };
        let mut lanes = vec![0.0; 2 * tiling.padded()];
        let (sum, product) = lanes.split_at_mut(tiling.padded());
        let pass = GradientSums { affine, masking, sum, product };
        dispatch(Task { tiling, operands, pass });
        let (total, total_product) = results.take(task).split_at_mut(channels);
        add_folded(total, &sum[..tiling.lanes()]);
        add_folded(total_product, &product[..tiling.lanes()]);
    })?;

    let mut grad = vec![0.0; 2 * channels];
    partial.chunks_exact(2 * channels).for_each(|partial| add_folded(&mut grad, partial));
    let product = grad.split_off(channels);
    Ok(Sums { grad, product })
}

fn add_folded(total: &mut [f64], lanes: &[f64]) {
    for values in lanes.chunks_exact(total.len()) {
        total.iter_mut().zip(values).for_each(|(t, v)| *t += v);
    }
}
