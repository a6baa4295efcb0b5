//! The second backward pass: the gradient of `x`.

use std::ops::Range;

use super::affine::Affine;
use super::lanes::{constants, load, store, Window};
use super::masking::Masking;
use super::normalize::Task;
use super::sweep::{cut, Operands, Pass};
use super::tiling::Tiling;
use super::{Shape, Sums};
use crate::cpu::{dispatch, run_all_backward, Number, Parallel, Parts, SharedSlice, Simd, LANES};
use crate::error::Result;

/// `grad_x = scale * g + slope * (x - mean) + offset` for each channel: the derivative through the
/// normalization itself and through the two statistics.
pub(super) struct Linear {
    pub affine: Affine,
    slope: Vec<f32>,
    offset: Vec<f32>,
}

impl Linear {
    pub(super) fn new(affine: Affine, invstd: &[f32], rows: usize, sums: &Sums) -> Linear {
        let channels = 0..affine.scale.len();
        let scale = |c: usize| affine.scale[c] as f64 / rows as f64;
        let slope = |c: usize| {
            let invstd = invstd[c] as f64;
            (-scale(c) * invstd * invstd * sums.product[c]) as f32
        };
        let offset = |c: usize| (-scale(c) * sums.grad[c]) as f32;
        let (slope, offset) =
            (channels.clone().map(slope).collect(), channels.map(offset).collect());
        Linear { affine, slope, offset }
    }

    fn spread(&self, tiling: &Tiling) -> Linear {
        Linear {
            affine: self.affine.spread(tiling),
            slope: tiling.spread(&self.slope),
            offset: tiling.spread(&self.offset),
        }
    }
}

/// Inputs: grad_y, x, y. Outputs: grad_x, g.
pub(super) struct InputGradient<'a> {
    pub linear: &'a Linear,
    pub masking: Masking,
}

impl<T: Number> Pass<T> for InputGradient<'_> {
    #[inline(always)]
    unsafe fn window<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        operands: &Operands<T>,
        window: Window,
        lane: usize,
        _: Range<usize>,
    ) {
        let [grad, x, y] = operands.inputs;
        let [grad_x, written] = operands.outputs;
        let affine = self.linear.affine.lanes::<S, V>(simd, lane);
        let slope: [S::F; V] = constants(simd, &self.linear.slope, lane);
        let offset: [S::F; V] = constants(simd, &self.linear.offset, lane);
        for row in 0..window.rows {
            let at = window.at + row * window.stride;
            // SAFETY: `at` is a row of the window, which lies in the operands.
            unsafe {
                let mut g: [S::F; V] = load(simd, grad.as_ptr().add(at));
                let mut d: [S::F; V] = load(simd, x.as_ptr().add(at));
                affine.center(simd, &mut d);
                self.masking.apply(simd, &affine, y, at, &d, &mut g);
                if !written.is_empty() {
                    store(simd, written.at(at, V * LANES), g);
                }
                for i in 0..V {
                    let rest = simd.add(simd.mul(slope[i], d[i]), offset[i]);
                    g[i] = simd.add(simd.mul(affine.scale[i], g[i]), rest);
                }
                store(simd, grad_x.at(at, V * LANES), g);
            }
        }
    }
}

/// Writes `grad_x`, and `g` into `grad_residual`. All slices have been checked.
pub(super) fn input_gradient<T: Number>(
    parallel: &dyn Parallel,
    shape: Shape,
    linear: &Linear,
    masking: Masking,
    inputs: [&[T]; 3],
    grad_x: &mut [T],
    grad_residual: Option<&mut [T]>,
) -> Result<()> {
    let tiling = Tiling::new(shape);
    let linear = &linear.spread(&tiling);
    let parts = Parts::new(grad_x, tiling.part());
    let written = grad_residual.map(|grad| Parts::new(grad, tiling.part()));
    run_all_backward(parallel, tiling.tasks(), |task| {
        let range = tiling.range(task);
        let inputs = inputs.map(|matrix| cut(matrix, &range));
        let written =
            written.as_ref().map_or(SharedSlice::new(&mut []), |w| SharedSlice::new(w.take(task)));
        let operands = Operands { inputs, outputs: [SharedSlice::new(parts.take(task)), written] };
        dispatch(Task { tiling, operands, pass: InputGradient { linear, masking } });
    })
}
