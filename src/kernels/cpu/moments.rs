//! Mean and variance of channels, in one pass over the values.
//!
//! Kernels add up `x - shift` and `(x - shift)^2` in f32 over a limited number of values, where
//! `shift` is one of the values or an estimate of the mean: the rounding error then stays a small
//! multiple of the variance itself, however large the mean is. Sums of different values are merged
//! as means and squared deviations in f64 (Chan, Golub and LeVeque 1983).

use std::ops::Range;

use crate::cpu::{vectorized, Simd, Vectorized, LANES};

/// For each channel the mean and the sum of squared deviations from it, of `count` values.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    pub count: f64,
    pub mean: Vec<f64>,
    pub squares: Vec<f64>,
}

impl Moments {
    pub(super) fn new(channels: usize) -> Moments {
        Moments { count: 0.0, mean: vec![0.0; channels], squares: vec![0.0; channels] }
    }

    /// The moments of all tasks, merged in order. Each has its count, and its means before its
    /// squares in one slice.
    pub(super) fn merged<'a>(
        channels: usize,
        tasks: impl Iterator<Item = (f64, &'a [f64])>,
    ) -> Moments {
        let mut all = Moments::new(channels);
        for (count, moments) in tasks {
            let (mean, squares) = moments.split_at(channels);
            vectorized(Merge { all: &mut all, count, mean, squares });
        }
        all
    }

    /// Merges the moments of `count` more values.
    #[inline(always)]
    pub(super) fn merge(&mut self, count: f64, mean: &[f64], squares: &[f64]) {
        self.merge_some(0..self.mean.len(), count, mean, squares);
        self.count += count;
    }

    /// Merges the moments of some of the channels. The caller updates the count.
    #[inline(always)]
    pub(super) fn merge_some(
        &mut self,
        channels: Range<usize>,
        count: f64,
        mean: &[f64],
        squares: &[f64],
    ) {
        let own = (&mut self.mean[channels.clone()], &mut self.squares[channels]);
        merge(self.count, own, count, (mean, squares));
    }

    /// The f32 statistics for the backward pass. `invstd` has the biased variance.
    pub fn save(&self, eps: f64, save_mean: &mut [f32], save_invstd: &mut [f32]) {
        for (save, mean) in save_mean.iter_mut().zip(&self.mean) {
            *save = *mean as f32;
        }
        for (save, squares) in save_invstd.iter_mut().zip(&self.squares) {
            *save = (1.0 / (squares / self.count + eps).sqrt()) as f32;
        }
    }
}

struct Merge<'a> {
    all: &'a mut Moments,
    count: f64,
    mean: &'a [f64],
    squares: &'a [f64],
}

impl Vectorized for Merge<'_> {
    #[inline(always)]
    fn run(self) {
        self.all.merge(self.count, self.mean, self.squares);
    }
}

/// The moments of one vector of channels.
#[derive(Clone, Copy)]
pub(super) struct VectorMoments {
    pub count: f64,
    pub mean: [f64; LANES],
    pub squares: [f64; LANES],
}

impl VectorMoments {
    pub(super) const NONE: VectorMoments =
        VectorMoments { count: 0.0, mean: [0.0; LANES], squares: [0.0; LANES] };

    /// The moments of `count` values from their shift and their shifted sums.
    #[inline(always)]
    pub(super) fn from_sums(
        count: f64,
        shift: &[f32; LANES],
        sum: &[f32; LANES],
        squares: &[f32; LANES],
    ) -> VectorMoments {
        let mut moments = VectorMoments { count, ..VectorMoments::NONE };
        for i in 0..LANES {
            (moments.mean[i], moments.squares[i]) =
                from_sums(count, shift[i], sum[i].into(), squares[i].into());
        }
        moments
    }

    #[inline(always)]
    pub(super) fn merge(&mut self, other: &VectorMoments) {
        let own = (&mut self.mean[..], &mut self.squares[..]);
        merge(self.count, own, other.count, (&other.mean, &other.squares));
        self.count += other.count;
    }
}

/// Adds `value - shift` and its square to the sums. Fused multiplications and additions are faster,
/// without them all levels give the same bits.
#[inline(always)]
pub(super) fn add_shifted<S: Simd, const FUSED: bool>(
    simd: S,
    [sum, squares]: [S::F; 2],
    shift: S::F,
    value: S::F,
) -> [S::F; 2] {
    let d = simd.sub(value, shift);
    let squares = match FUSED {
        true => simd.mul_add(d, d, squares),
        false => simd.add(squares, simd.mul(d, d)),
    };
    [simd.add(sum, d), squares]
}

/// Mean and squared deviations of `count` values from their shift and their shifted sums.
#[inline(always)]
pub(super) fn from_sums(count: f64, shift: f32, sum: f64, squares: f64) -> (f64, f64) {
    let each = 1.0 / count;
    let offset = sum * each;
    // Rounding can take the difference below zero; NaN stays NaN.
    let rest = squares - sum * offset;
    (f64::from(shift) + offset, if rest < 0.0 { 0.0 } else { rest })
}

/// Merges the means and squared deviations of `count` more values into those of `own_count`.
#[inline(always)]
fn merge(
    own_count: f64,
    own: (&mut [f64], &mut [f64]),
    count: f64,
    (mean, squares): (&[f64], &[f64]),
) {
    let share = count / (own_count + count);
    let more = mean.iter().zip(squares);
    for ((own_mean, own_squares), (mean, squares)) in own.0.iter_mut().zip(own.1).zip(more) {
        let delta = mean - *own_mean;
        *own_mean += delta * share;
        *own_squares += squares + delta * delta * own_count * share;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::noise;

    #[test]
    fn merged_moments_are_those_of_all_values() {
        let values: Vec<f64> = noise(1, 100).map(|value| 1000.0 + f64::from(value)).collect();
        let of = |values: &[f64]| {
            let shift = values[0] as f32;
            let offsets = values.iter().map(|value| value - f64::from(shift));
            let sum = offsets.clone().sum();
            from_sums(values.len() as f64, shift, sum, offsets.map(|d| d * d).sum())
        };
        let tasks: Vec<(f64, [f64; 2])> =
            values.chunks(17).map(|task| (task.len() as f64, of(task).into())).collect();
        let moments = Moments::merged(1, tasks.iter().map(|(count, task)| (*count, &task[..])));
        let mean = values.iter().sum::<f64>() / 100.0;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        assert_eq!(moments.count, 100.0);
        assert!((moments.mean[0] - mean).abs() < 1e-9 * mean);
        assert!((moments.squares[0] - squares).abs() < 1e-6 * squares, "{moments:?} {squares}");
    }

    #[test]
    fn rounding_gives_no_negative_squares_and_nan_stays() {
        assert_eq!(from_sums(3.0, 1.0, 1.0, 0.3333333), (1.0 + 1.0 / 3.0, 0.0));
        let (mean, squares) = from_sums(2.0, 1.0, f64::NAN, f64::NAN);
        assert!(mean.is_nan() && squares.is_nan());
    }
}
