//! The whole correlation: runs the tasks and merges their moments.

use super::operands::Correlation;
use super::task::Task;
use crate::cpu::{lend, run_all, Number, Parallel, Parts, SharedSlice, LANES};
use crate::error::Result;
use crate::kernels::cpu::convolution::moments::{merged, Shifted};
use crate::kernels::cpu::moments::Moments;

impl<T: Number, M: Number> Correlation<'_, T, M> {
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
        let channels = [plan.groups, plan.channels, plan.range_channels()];
        let counts: Vec<f64> = (0..parts).map(|part| plan.count(part) as f64).collect();
        Ok(self.statistics.then(|| merged(channels, &partial, &counts)))
    }

    fn task(
        &self,
        range: usize,
        part: usize,
        bias: Option<&[f32]>,
        out: SharedSlice<'_, T>,
        result: &mut [f64],
    ) {
        lend(self.plan.scratch(), |scratch: &mut [u32]| {
            let blocks = self.plan.blocks(range);
            let run = |moments: Option<Shifted>| {
                Task { correlation: self, out, bias, blocks, moments }.run(part, scratch);
            };
            match self.statistics {
                false => run(None),
                true => {
                    let count = self.plan.count(part) as f64;
                    Shifted::collect(count, result, |moments| run(Some(moments)));
                }
            }
        });
    }
}
