//! The whole correlation: runs the tasks and merges their moments.

use super::epilogue::Shifted;
use super::operands::Correlation;
use super::task::Task;
use crate::cpu::{lend, run_all, Number, Parallel, Parts, SharedSlice, LANES};
use crate::error::Result;
use crate::kernels::cpu::moments::{from_sums, Moments};

impl<T: Number> Correlation<'_, T> {
    /// Writes `out`, which has been checked as well, and returns the moments of its channels if
    /// they are wanted.
    pub(in super::super) fn run(
        &self,
        parallel: &dyn Parallel,
        out: &mut [T],
    ) -> Result<Option<Moments>> {
        let plan = &self.plan;
        let (ranges, parts) = (plan.ranges(), plan.parts());
        let bias: Option<Vec<f32>> = self.bias.map(|bias| {
            let mut bias = bias.to_vec();
            bias.resize(bias.len().next_multiple_of(LANES), 0.0);
            bias
        });
        let columns = plan.columns();
        let slots = if self.statistics { ranges * parts } else { 0 };
        let mut partial = vec![0.0f64; slots * 2 * columns];
        let results = Parts::new(&mut partial, 2 * columns);
        let out = SharedSlice::new(out);
        run_all(parallel, ranges * parts, |task| {
            let (range, part) = (task / parts, task % parts);
            let result = results.take(task);
            self.task(range, part, bias.as_deref(), out, result);
        })?;
        Ok(self.statistics.then(|| self.merge(&partial)))
    }

    fn task(
        &self,
        range: usize,
        part: usize,
        bias: Option<&[f32]>,
        out: SharedSlice<'_, T>,
        result: &mut [f64],
    ) {
        let columns = self.plan.columns();
        lend(self.plan.scratch(), |scratch: &mut [u32]| {
            lend(3 * columns, |sums: &mut [f64]| {
                sums.fill(0.0);
                let (sum, rest) = sums.split_at_mut(columns);
                let (squares, pivot) = rest.split_at_mut(columns);
                let moments = self.statistics.then_some(Shifted {
                    pivot: pivot.as_mut_ptr().cast(),
                    sum: sum.as_mut_ptr(),
                    squares: squares.as_mut_ptr(),
                });
                let blocks = self.plan.blocks(range);
                Task { correlation: self, out, bias, blocks, moments }.run(part, scratch);
                if let Some(Shifted { pivot, .. }) = moments {
                    let (mean, deviation) = result.split_at_mut(columns);
                    let count = self.plan.count(part) as f64;
                    for i in 0..columns {
                        // SAFETY: there is a pivot for each column.
                        let pivot = unsafe { pivot.add(i).read() };
                        (mean[i], deviation[i]) = from_sums(count, pivot, sum[i], squares[i]);
                    }
                }
            });
        });
    }

    /// The moments of all tasks, merged in order.
    fn merge(&self, partial: &[f64]) -> Moments {
        let plan = &self.plan;
        let (columns, width) = (plan.columns(), plan.range_channels());
        let mut all = Moments::new(plan.groups * plan.channels);
        for (range, results) in partial.chunks_exact(plan.parts() * 2 * columns).enumerate() {
            let tasks = results.chunks_exact(2 * columns).enumerate();
            let tasks = tasks.map(|(part, result)| (plan.count(part) as f64, result));
            let total = Moments::merged(columns, tasks);
            all.count = total.count;
            let len = width.min(plan.channels - range * width);
            for group in 0..plan.groups {
                let to = group * plan.channels + range * width;
                let from = group * width..group * width + len;
                all.mean[to..to + len].copy_from_slice(&total.mean[from.clone()]);
                all.squares[to..to + len].copy_from_slice(&total.squares[from]);
            }
        }
        all
    }
}
