//! The normalized rows, and the statistics for the backward.

use super::rows::{load, load_or, store, sums, Square};
use super::shape::Shape;
use crate::cpu::{check_len, dispatch, run_all, Kernel, Number, Parallel, Parts, Simd, LANES};
use crate::error::Result;

/// `y = (x - mean) * rstd * weight + bias`, where `rstd` is `1 / sqrt(variance + eps)`.
pub struct Forward<'a, T, Y> {
    pub shape: Shape,
    pub eps: f64,
    /// `[rows, features]`
    pub x: &'a [T],
    pub weight: Option<&'a [f32]>,
    pub bias: Option<&'a [f32]>,
    /// `[rows, features]`
    pub y: &'a mut [Y],
    /// `[rows]`
    pub mean: &'a mut [f32],
    /// `[rows]`
    pub rstd: &'a mut [f32],
}

impl<T: Number, Y: Number> Forward<'_, T, Y> {
    /// # Errors
    /// Rows are empty or a slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let Forward { shape, eps, x, weight, bias, y, mean, rstd } = self;
        shape.check()?;
        shape.check_matrix("x", x)?;
        shape.check_vector("weight", weight)?;
        shape.check_vector("bias", bias)?;
        shape.check_matrix("y", y)?;
        check_len("mean", shape.rows, mean.len())?;
        check_len("rstd", shape.rows, rstd.len())?;
        let rows = shape.rows_of_task();
        let part = rows * shape.features;
        let (y, mean, rstd) = (Parts::new(y, part), Parts::new(mean, rows), Parts::new(rstd, rows));
        run_all(parallel, shape.tasks(), |task| {
            let (y, mean, rstd) = (y.take(task), mean.take(task), rstd.take(task));
            let x = &x[task * part..][..y.len()];
            dispatch(Rows { features: shape.features, eps, x, weight, bias, y, mean, rstd });
        })
    }
}

/// The rows of a task.
struct Rows<'a, T, Y> {
    features: usize,
    eps: f64,
    x: &'a [T],
    weight: Option<&'a [f32]>,
    bias: Option<&'a [f32]>,
    y: &'a mut [Y],
    mean: &'a mut [f32],
    rstd: &'a mut [f32],
}

impl<T: Number, Y: Number> Kernel for Rows<'_, T, Y> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Rows { features, eps, x, weight, bias, y, mean, rstd } = self;
        let group = LANES * features;
        let statistics = mean.chunks_mut(LANES).zip(rstd.chunks_mut(LANES));
        for ((x, y), (mean, rstd)) in x.chunks(group).zip(y.chunks_mut(group)).zip(statistics) {
            let [means, variances] = moments(simd, features, x);
            for (i, (mean, rstd)) in mean.iter_mut().zip(rstd.iter_mut()).enumerate() {
                *mean = means[i];
                *rstd = (1.0 / (f64::from(variances[i]) + eps).sqrt()) as f32;
            }
            let rows = x.chunks_exact(features).zip(y.chunks_exact_mut(features));
            for ((x, y), (mean, rstd)) in rows.zip(mean.iter().zip(rstd.iter())) {
                let (mean, rstd) = (simd.splat(*mean), simd.splat(*rstd));
                for at in (0..features).step_by(LANES) {
                    let normalized = simd.mul(simd.sub(load(simd, x, at), mean), rstd);
                    let weight = load_or(simd, weight, at, 1.0);
                    let bias = load_or(simd, bias, at, 0.0);
                    store(simd, y, at, simd.mul_add(normalized, weight, bias));
                }
            }
        }
    }
}

/// Mean and variance of up to sixteen rows.
#[inline(always)]
fn moments<S: Simd, T: Number>(simd: S, features: usize, rows: &[T]) -> [[f32; LANES]; 2] {
    let share = simd.splat(1.0 / features as f32);
    let mut square: Square = [0.0; LANES * LANES];
    let [mut means, mut variances] = [[0.0; LANES]; 2];
    for (row, lanes) in rows.chunks_exact(features).zip(square.chunks_exact_mut(LANES)) {
        let mut sum = simd.zero();
        for at in (0..features).step_by(LANES) {
            sum = simd.add(sum, load(simd, row, at));
        }
        // SAFETY: room for a vector.
        unsafe { simd.store_f32(lanes.as_mut_ptr(), sum) };
    }
    // SAFETY: room for a vector.
    unsafe { simd.store_f32(means.as_mut_ptr(), simd.mul(sums(simd, &square), share)) };
    let rest = features % LANES;
    // SAFETY: a vector is read.
    let last = unsafe { simd.load_first_f32([1.0; LANES].as_ptr(), rest) };
    let rows = rows.chunks_exact(features).zip(square.chunks_exact_mut(LANES));
    for ((row, lanes), mean) in rows.zip(means) {
        let mean = simd.splat(mean);
        let mut sum = simd.zero();
        for at in (0..features - rest).step_by(LANES) {
            let d = simd.sub(load(simd, row, at), mean);
            sum = simd.mul_add(d, d, sum);
        }
        if rest > 0 {
            let d = simd.mul(simd.sub(load(simd, row, features - rest), mean), last);
            sum = simd.mul_add(d, d, sum);
        }
        // SAFETY: room for a vector.
        unsafe { simd.store_f32(lanes.as_mut_ptr(), sum) };
    }
    // SAFETY: room for a vector.
    unsafe { simd.store_f32(variances.as_mut_ptr(), simd.mul(sums(simd, &square), share)) };
    [means, variances]
}
