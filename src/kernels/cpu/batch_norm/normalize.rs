//! The elementwise pass: `y = act((x - mean) * scale + shift + residual)`.

use std::ops::Range;

use super::affine::Affine;
use super::lanes::{load, store, Window};
use super::sweep::{cut, sweep, Operands, Pass};
use super::tiling::Tiling;
use super::Shape;
use crate::cpu::{
    dispatch, run_all_backward, Kernel, Number, Parallel, Parts, SharedSlice, Simd, LANES,
};
use crate::error::Result;
use crate::kernels::cpu::activation::SimdActivation;

/// Inputs: x, residual. Output: y.
pub(super) struct Normalize<'a> {
    pub affine: &'a Affine,
    pub activation: SimdActivation,
}

impl<T: Number> Pass<T> for Normalize<'_> {
    #[inline(always)]
    unsafe fn window<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        operands: &Operands<T>,
        window: Window,
        lane: usize,
        _: Range<usize>,
    ) {
        let [x, residual, _] = operands.inputs;
        let affine = self.affine.lanes::<S, V>(simd, lane);
        for row in 0..window.rows {
            let at = window.at + row * window.stride;
            // SAFETY: `at` is a row of the window, which lies in the operands.
            unsafe {
                let mut v: [S::F; V] = load(simd, x.as_ptr().add(at));
                affine.center(simd, &mut v);
                affine.stretch(simd, &mut v);
                if !residual.is_empty() {
                    let r: [S::F; V] = load(simd, residual.as_ptr().add(at));
                    for (v, r) in v.iter_mut().zip(r) {
                        *v = simd.add(*v, r);
                    }
                }
                self.activation.apply_all(simd, &mut v);
                store(simd, operands.outputs[0].at(at, V * LANES), v);
            }
        }
    }
}

/// Writes `y`; all slices have been checked.
pub(super) fn normalize<T: Number>(
    parallel: &dyn Parallel,
    shape: Shape,
    affine: &Affine,
    activation: SimdActivation,
    x: &[T],
    residual: Option<&[T]>,
    y: &mut [T],
) -> Result<()> {
    let tiling = Tiling::new(shape);
    let affine = &affine.spread(&tiling);
    let parts = Parts::new(y, tiling.part());
    run_all_backward(parallel, tiling.tasks(), |task| {
        let range = tiling.range(task);
        let inputs = [x, residual.unwrap_or(&[]), &[]].map(|matrix| cut(matrix, &range));
        let outputs = [SharedSlice::new(parts.take(task)), SharedSlice::new(&mut [])];
        let operands = Operands { inputs, outputs };
        dispatch(Task { tiling, operands, pass: Normalize { affine, activation } });
    })
}

/// A pass over one task's part.
pub(super) struct Task<'a, T, P> {
    pub tiling: Tiling,
    pub operands: Operands<'a, T>,
    pub pass: P,
}

impl<T: Number, P: Pass<T>> Kernel for Task<'_, T, P> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let len = self.operands.inputs[0].len();
        sweep(simd, self.tiling, len, &self.operands, &mut self.pass);
    }
}
