//! Mean and variance of each channel in one pass.
//!
//! Within a block of rows the sums of `x - s` and `(x - s)^2` are f32, `s` being the block's first
//! row: since `s` is one of the values, the rounding error stays a small multiple of the variance
//! itself, however large the mean is. Blocks are merged in f64 (Chan, Golub and LeVeque 1983).

use super::tiling::{load, windows, Tiling, WINDOW};
use super::Shape;
use crate::error::Result;
use crate::instructions::{vectorized, Vectorized};
use crate::kernels::cpu::parallel::{run_all, Parallel};
use crate::kernels::cpu::parts::Parts;
use crate::kernels::cpu::Element;

/// For each column the mean and the sum of squared deviations from it, of `count` values.
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

/// The moments of the channels of `x`.
pub(super) fn moments<T: Element>(
    parallel: &dyn Parallel,
    shape: Shape,
    x: &[T],
) -> Result<Moments> {
    let tiling = Tiling::new(shape);
    let channels = shape.channels;
    let mut partial = vec![0.0; tiling.tasks() * 2 * channels];
    let parts = Parts::new(&mut partial, 2 * channels);
    run_all(parallel, tiling.tasks(), |task| {
        let x = &x[tiling.range(task)];
        vectorized(Pass { tiling, x, result: parts.take(task) });
    })?;

    let mut total = Moments::new(channels);
    for (task, partial) in partial.chunks_exact(2 * channels).enumerate() {
        let (mean, squares) = partial.split_at(channels);
        total.merge((tiling.range(task).len() / channels) as f64, mean, squares);
    }
    Ok(total)
}

/// One task: the moments of its rows, the means before the squares in `result`.
struct Pass<'a, T> {
    tiling: Tiling,
    x: &'a [T],
    result: &'a mut [f64],
}

impl<T: Element> Vectorized for Pass<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Tiling { channels, fold, .. } = self.tiling;
        let lanes = self.tiling.lanes();
        let (wide, tail) = self.x.split_at(self.tiling.wide(self.x.len()));

        let mut folded = Moments::new(lanes);
        for block in wide.chunks(self.tiling.block()) {
            add_block::<T, WINDOW>(&mut folded, block, lanes);
        }
        let mut total = Moments::new(channels);
        if folded.count > 0.0 {
            for i in 0..fold {
                let columns = i * channels..(i + 1) * channels;
                total.merge(folded.count, &folded.mean[columns.clone()], &folded.squares[columns]);
            }
        }
        if !tail.is_empty() {
            add_block::<T, 1>(&mut total, tail, channels);
        }
        let (mean, squares) = self.result.split_at_mut(channels);
        mean.copy_from_slice(&total.mean);
        squares.copy_from_slice(&total.squares);
    }
}

/// Adds a block of few rows to the moments of its lanes.
#[inline(always)]
fn add_block<T: Element, const W: usize>(moments: &mut Moments, block: &[T], lanes: usize) {
    let count = (block.len() / lanes) as f64;
    for (start, covered) in windows::<W>(lanes) {
        let (mean, squares) = window_moments::<T, W>(block, lanes, start);
        let columns = start + covered..start + W;
        merge(
            moments.count,
            &mut moments.mean[columns.clone()],
            &mut moments.squares[columns],
            count,
            &mean[covered..],
            &squares[covered..],
        );
    }
    moments.count += count;
}

/// The moments of the `W` lanes from `start` on.
#[inline(always)]
fn window_moments<T: Element, const W: usize>(
    block: &[T],
    lanes: usize,
    start: usize,
) -> ([f64; W], [f64; W]) {
    let shift: [f32; W] = load(block, start);
    let (mut sum, mut squares) = ([0.0f32; W], [0.0f32; W]);
    let rows = block.len() / lanes;
    for row in 0..rows {
        let x: [f32; W] = load(block, row * lanes + start);
        for i in 0..W {
            let d = x[i] - shift[i];
            sum[i] += d;
            squares[i] += d * d;
        }
    }
    let each = 1.0 / rows as f64;
    let (mut mean, mut deviation) = ([0.0f64; W], [0.0f64; W]);
    for i in 0..W {
        let offset = sum[i] as f64 * each;
        mean[i] = shift[i] as f64 + offset;
        // Rounding can take a lane below zero; a NaN stays one.
        let rest = squares[i] as f64 - sum[i] as f64 * offset;
        deviation[i] = if rest < 0.0 { 0.0 } else { rest };
    }
    (mean, deviation)
}
