//! Mean and variance of each channel in one pass.
//!
//! Within a block of rows the sums of `x - s` and `(x - s)^2` are f32, `s` being the block's first
//! row: since `s` is one of the values, the rounding error stays a small multiple of the variance
//! itself, however large the mean is. Blocks are merged in f64 (Chan, Golub and LeVeque 1983).

use super::lanes::{load, store, Window, WINDOW};
use super::tiling::{windows, Tiling};
use super::Shape;
use crate::cpu::{dispatch, run_all, Kernel, Number, Parallel, Parts, Simd, LANES};
use crate::error::Result;

/// For each column the mean and the sum of squared deviations from it, of `count` values.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    pub count: f64,
    pub mean: Vec<f64>,
    pub squares: Vec<f64>,
}

impl Moments {
    pub(in crate::kernels::cpu) fn new(columns: usize) -> Moments {
        Moments { count: 0.0, mean: vec![0.0; columns], squares: vec![0.0; columns] }
    }

    #[inline(always)]
    pub(in crate::kernels::cpu) fn merge(&mut self, count: f64, mean: &[f64], squares: &[f64]) {
        merge(self.count, &mut self.mean, &mut self.squares, count, mean, squares);
        self.count += count;
    }

    /// The f32 statistics that the backward pass gets, `invstd` with the biased variance.
    pub fn save(&self, eps: f64, save_mean: &mut [f32], save_invstd: &mut [f32]) {
        for (save, mean) in save_mean.iter_mut().zip(&self.mean) {
            *save = *mean as f32;
        }
        for (save, squares) in save_invstd.iter_mut().zip(&self.squares) {
            *save = (1.0 / (squares / self.count + eps).sqrt()) as f32;
        }
    }
}

/// Merges the moments of `count` more values into those of `n`.
#[inline(always)]
fn merge(
    n: f64,
    mean: &mut [f64],
    squares: &mut [f64],
    count: f64,
    other_mean: &[f64],
    other_squares: &[f64],
) {
    let share = count / (n + count);
    let other = other_mean.iter().zip(other_squares);
    for ((m, s), (om, os)) in mean.iter_mut().zip(squares).zip(other) {
        let delta = om - *m;
        *m += delta * share;
        *s += os + delta * delta * n * share;
    }
}

/// The moments of the channels of `x`, `[rows, channels]`.
///
/// # Errors
/// The shape is empty or `x` does not have its length.
pub fn moments<T: Number>(parallel: &dyn Parallel, shape: Shape, x: &[T]) -> Result<Moments> {
    shape.check()?;
    shape.check_matrix("x", x)?;
    let tiling = Tiling::new(shape);
    let channels = shape.channels;
    let mut partial = vec![0.0; tiling.tasks() * 2 * channels];
    let parts = Parts::new(&mut partial, 2 * channels);
    run_all(parallel, tiling.tasks(), |task| {
        let x = &x[tiling.range(task)];
        dispatch(Task { tiling, x, result: parts.take(task) });
    })?;

    let mut total = Moments::new(channels);
    for (task, partial) in partial.chunks_exact(2 * channels).enumerate() {
        let (mean, squares) = partial.split_at(channels);
        total.merge((tiling.range(task).len() / channels) as f64, mean, squares);
    }
    Ok(total)
}

/// One task: the moments of its rows, the means before the squares in `result`.
struct Task<'a, T> {
    tiling: Tiling,
    x: &'a [T],
    result: &'a mut [f64],
}

impl<T: Number> Kernel for Task<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Tiling { channels, fold, .. } = self.tiling;
        let stride = self.tiling.lanes();
        let (wide, tail) = self.x.split_at(self.tiling.wide(self.x.len()));

        let mut folded = Moments::new(stride);
        let part = Window { at: 0, stride, rows: wide.len() / stride };
        for block in part.blocks(self.tiling.block_rows()) {
            for (lane, covered) in windows(stride) {
                let window = Window { at: block.at + lane, ..block };
                add_window::<S, T, { WINDOW / LANES }>(
                    simd,
                    &mut folded,
                    wide,
                    window,
                    lane,
                    covered,
                );
            }
            folded.count += block.rows as f64;
        }
        let mut total = Moments::new(channels);
        if folded.count > 0.0 {
            for i in 0..fold {
                let columns = i * channels..(i + 1) * channels;
                total.merge(folded.count, &folded.mean[columns.clone()], &folded.squares[columns]);
            }
        }
        // The rows that fill no wide row.
        let (mut value, zero) = (vec![0.0; channels], vec![0.0; channels]);
        for row in tail.chunks_exact(channels) {
            value.iter_mut().zip(row).for_each(|(value, x)| *value = x.to_f32() as f64);
            total.merge(1.0, &value, &zero);
        }
        let (mean, squares) = self.result.split_at_mut(channels);
        mean.copy_from_slice(&total.mean);
        squares.copy_from_slice(&total.squares);
    }
}

/// Merges a window of few rows into the moments of its lanes, which begin at `lane`; the first
/// `covered` of them are left out. The count is left to the caller.
#[inline(always)]
pub(super) fn add_window<S: Simd, T: Number, const V: usize>(
    simd: S,
    moments: &mut Moments,
    x: &[T],
    window: Window,
    lane: usize,
    covered: usize,
) {
    debug_assert!(window.end::<V>() <= x.len());
    let mut lanes = [[0.0f32; WINDOW]; 3];
    // SAFETY: the window lies in `x`; each array has a window's lanes.
    unsafe {
        let shift: [S::F; V] = load(simd, x.as_ptr().add(window.at));
        let (mut sum, mut squares) = ([simd.zero(); V], [simd.zero(); V]);
        for row in 1..window.rows {
            let x: [S::F; V] = load(simd, x.as_ptr().add(window.at + row * window.stride));
            for i in 0..V {
                let d = simd.sub(x[i], shift[i]);
                sum[i] = simd.add(sum[i], d);
                squares[i] = simd.add(squares[i], simd.mul(d, d));
            }
        }
        for (lanes, values) in lanes.iter_mut().zip([shift, sum, squares]) {
            store(simd, lanes.as_mut_ptr(), values);
        }
    }
    let end = V * LANES;
    let [shift, sum, squares] = lanes;
    let (mean, deviation) = shifted(window.rows as f64, &shift, &sum, &squares);
    let columns = lane + covered..lane + end;
    merge(
        moments.count,
        &mut moments.mean[columns.clone()],
        &mut moments.squares[columns],
        window.rows as f64,
        &mean[covered..end],
        &deviation[covered..end],
    );
}

/// Means and squared deviations from the sums of what is left when a shift is taken off.
#[inline(always)]
fn shifted(
    count: f64,
    shift: &[f32; WINDOW],
    sum: &[f32; WINDOW],
    squares: &[f32; WINDOW],
) -> ([f64; WINDOW], [f64; WINDOW]) {
    let each = 1.0 / count;
    let (mut mean, mut deviation) = ([0.0f64; WINDOW], [0.0f64; WINDOW]);
    for i in 0..WINDOW {
        let offset = sum[i] as f64 * each;
        mean[i] = shift[i] as f64 + offset;
        // Rounding can take a lane below zero; a NaN stays one.
        let rest = squares[i] as f64 - sum[i] as f64 * offset;
        deviation[i] = if rest < 0.0 { 0.0 } else { rest };
    }
    (mean, deviation)
}
