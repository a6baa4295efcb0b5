//! Moments of the output, taken while it is written.
//!
//! Within a run of blocks the sums of `y - s` and `(y - s)^2` are f32, `s` being the mean so far,
//! and in the short first run that of its first tile: the rounding error stays a small multiple of
//! the variance, however large the mean is, and whatever the first value is. Runs and tasks are
//! merged in f64 (Chan, Golub and LeVeque 1983).

use super::plan::Plan;
use crate::cpu::{Simd, LANES};
use crate::kernels::cpu::convolution::Moments;

/// Mean, sum of squared deviations and count of sixteen channels.
#[derive(Clone, Copy)]
pub(super) struct Total {
    mean: [f64; LANES],
    squares: [f64; LANES],
    count: f64,
    /// Values of the run that goes on.
    open: f64,
}

impl Total {
    pub(super) const NONE: Total =
        Total { mean: [0.0; LANES], squares: [0.0; LANES], count: 0.0, open: 0.0 };
}

/// The statistics of a task's output channels.
pub(super) struct Statistics<'a> {
    /// For each vector of channels the shift, the sum and the squares of a run.
    run: *mut f32,
    totals: &'a mut [Total],
}

impl<'a> Statistics<'a> {
    /// # Safety
    /// `run` has three vectors for each of the totals.
    pub(super) unsafe fn new(run: *mut f32, totals: &'a mut [Total]) -> Self {
        Statistics { run, totals }
    }

    /// Starts a run of one vector of channels.
    #[inline(always)]
    pub(super) fn start<S: Simd>(
        &mut self,
        simd: S,
        vector: usize,
        values: [S::F; 4],
        there: [bool; 4],
    ) {
        let total = &self.totals[vector];
        // SAFETY: `run` has three vectors here.
        unsafe {
            let run = self.run.add(vector * 3 * LANES);
            let shift = match there == [true; 4] {
                true => {
                    let [a, b, c, d] = values;
                    simd.mul(simd.add(simd.add(a, b), simd.add(c, d)), simd.splat(0.25))
                }
                false => values[0],
            };
            simd.store_f32(run, shift);
            if total.count > 0.0 {
                for i in 0..LANES {
                    *run.add(i) = total.mean[i] as f32;
                }
            }
            simd.store_f32(run.add(LANES), simd.zero());
            simd.store_f32(run.add(2 * LANES), simd.zero());
        }
    }

    /// Adds those of four values of each channel that there are.
    #[inline(always)]
    pub(super) fn add<S: Simd>(
        &mut self,
        simd: S,
        vector: usize,
        values: [S::F; 4],
        there: [bool; 4],
    ) {
        debug_assert!(vector < self.totals.len());
        // SAFETY: `run` has three vectors here.
        unsafe {
            let run = self.run.add(vector * 3 * LANES);
            let shift = simd.load_f32(run);
            let mut sum = simd.load_f32(run.add(LANES));
            let mut squares = simd.load_f32(run.add(2 * LANES));
            let all = there == [true; 4];
            for i in 0..4 {
                if all || there[i] {
                    let d = simd.sub(values[i], shift);
                    sum = simd.add(sum, d);
                    squares = simd.mul_add(d, d, squares);
                }
            }
            simd.store_f32(run.add(LANES), sum);
            simd.store_f32(run.add(2 * LANES), squares);
        }
    }

    /// Counts values that were added, and ends the run or not.
    pub(super) fn count(&mut self, vector: usize, count: usize, end: bool) {
        let total = &mut self.totals[vector];
        total.open += count as f64;
        if !end {
            return;
        }
        // SAFETY: `run` has three vectors here, and sums were stored.
        let run = unsafe { *self.run.add(vector * 3 * LANES).cast::<[[f32; LANES]; 3]>() };
        let n = total.open;
        for i in 0..LANES {
            let [shift, sum, squares] = run.map(|vector| vector[i] as f64);
            // Rounding can take a lane below zero; a NaN stays one.
            let rest = squares - sum * sum / n;
            let squares = if rest < 0.0 { 0.0 } else { rest };
            total.merge_lane(i, n, shift + sum / n, squares);
        }
        total.count += n;
        total.open = 0.0;
    }
}

impl Total {
    fn merge_lane(&mut self, i: usize, n: f64, mean: f64, squares: f64) {
        let share = n / (self.count + n);
        let delta = mean - self.mean[i];
        self.mean[i] += delta * share;
        self.squares[i] += squares + delta * delta * self.count * share;
    }
}

/// Merges the totals of all tasks, `Plan::vectors` of each, in the order of the tasks.
pub(super) fn merged(plan: &Plan, totals: &[Total]) -> Moments {
    let mut all = vec![Total::NONE; plan.shape.out_vectors()];
    for (task, totals) in totals.chunks_exact(plan.vectors).enumerate() {
        for (vector, total) in plan.vector_range(task).zip(totals) {
            for i in 0..LANES {
                all[vector].merge_lane(i, total.count, total.mean[i], total.squares[i]);
            }
            all[vector].count += total.count;
        }
    }
    let channels = plan.shape.out_channels;
    let gather = |lanes: fn(&Total) -> &[f64; LANES]| {
        all.iter().flat_map(lanes).copied().take(channels).collect()
    };
    Moments {
        count: all[0].count,
        mean: gather(|total| &total.mean),
        squares: gather(|total| &total.squares),
    }
}
