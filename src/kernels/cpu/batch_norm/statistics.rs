//! The moments of the channels of a matrix.
//!
//! The shifted sums of a block of rows are f32; the shift is the block's first row.

use super::lanes::{load, store, Window, WINDOW};
use super::tiling::{windows, Tiling};
use super::Shape;
use crate::cpu::{dispatch, run_all, Kernel, Number, Parallel, Parts, Simd, LANES};
use crate::error::Result;
use crate::kernels::cpu::moments::{add_shifted, from_sums, Moments};

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

    let rows = |task| (tiling.range(task).len() / channels) as f64;
    let tasks = partial.chunks_exact(2 * channels).enumerate();
    Ok(Moments::merged(channels, tasks.map(|(task, moments)| (rows(task), moments))))
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
        // The rows that do not fill a wide row.
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
/// `covered` of them are left out. The caller updates the count.
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
                [sum[i], squares[i]] =
                    add_shifted::<S, false>(simd, [sum[i], squares[i]], shift[i], x[i]);
            }
        }
        for (lanes, values) in lanes.iter_mut().zip([shift, sum, squares]) {
            store(simd, lanes.as_mut_ptr(), values);
        }
    }
    let (rows, end) = (window.rows as f64, V * LANES);
    let [shift, sum, squares] = lanes;
    let (mut mean, mut deviation) = ([0.0; WINDOW], [0.0; WINDOW]);
    for i in 0..WINDOW {
        (mean[i], deviation[i]) = from_sums(rows, shift[i], sum[i].into(), squares[i].into());
    }
    let (mean, deviation) = (&mean[covered..end], &deviation[covered..end]);
    moments.merge_some(lane + covered..lane + end, rows, mean, deviation);
}
