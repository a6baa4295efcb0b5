//! Moments of the output, taken while it is written.
//!
//! Within a run of blocks the sums of `y - s` and `(y - s)^2` are f32, `s` being the mean so far,
//! and in the short first run that of its first tile: the rounding error stays a small multiple of
//! the variance, however large the mean is, and whatever the first value is. Runs and tasks are
//! merged in f64 (Chan, Golub and LeVeque 1983).

use super::plan::Plan;
use crate::cpu::{Simd, LANES};
use crate::kernels::cpu::moments::{add_shifted, Moments, VectorMoments};

/// The moments of the finished runs of one vector of channels.
#[derive(Clone, Copy)]
pub(super) struct Total {
    moments: VectorMoments,
    /// Values of the current run.
    open: f64,
}

impl Total {
    pub(super) const NONE: Total = Total { moments: VectorMoments::NONE, open: 0.0 };
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
        let total = &self.totals[vector].moments;
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
            let mut sums = [simd.load_f32(run.add(LANES)), simd.load_f32(run.add(2 * LANES))];
            let all = there == [true; 4];
            for i in 0..4 {
                if all || there[i] {
                    sums = add_shifted::<S, true>(simd, sums, shift, values[i]);
                }
            }
            simd.store_f32(run.add(LANES), sums[0]);
            simd.store_f32(run.add(2 * LANES), sums[1]);
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
        let [shift, sum, squares] = &run;
        total.moments.merge(&VectorMoments::from_sums(total.open, shift, sum, squares));
        total.open = 0.0;
    }
}

/// Merges the totals of all tasks, `Plan::vectors` of each, in the order of the tasks.
pub(super) fn merged(plan: &Plan, totals: &[Total]) -> Moments {
    let mut all = vec![VectorMoments::NONE; plan.shape.out_vectors()];
    for (task, totals) in totals.chunks_exact(plan.vectors).enumerate() {
        for (vector, total) in plan.vector_range(task).zip(totals) {
            all[vector].merge(&total.moments);
        }
    }
    let channels = plan.shape.out_channels;
    let gather = |lanes: fn(&VectorMoments) -> &[f64; LANES]| {
        all.iter().flat_map(lanes).copied().take(channels).collect()
    };
    Moments {
        count: all[0].count,
        mean: gather(|moments| &moments.mean),
        squares: gather(|moments| &moments.squares),
    }
}
