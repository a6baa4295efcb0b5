//! Merges partial gradients.

use crate::cpu::{run_all, vectorized, Parallel, Parts, Vectorized};
use crate::error::Result;

/// Elements of a task.
const PART: usize = 4096;

/// Adds the `partials`, which are `stride` elements apart, to `sum`, in order.
pub(super) fn merge(
    parallel: &dyn Parallel,
    sum: &mut [f32],
    partials: &[f32],
    stride: usize,
) -> Result<()> {
    if partials.is_empty() {
        return Ok(());
    }
    let tasks = sum.len().div_ceil(PART);
    let parts = Parts::new(sum, PART);
    run_all(parallel, tasks, |index| {
        vectorized(Merge { sum: parts.take(index), partials: &partials[index * PART..], stride });
    })
}

struct Merge<'a> {
    sum: &'a mut [f32],
    partials: &'a [f32],
    stride: usize,
}

impl Vectorized for Merge<'_> {
    #[inline(always)]
    fn run(self) {
        for partial in self.partials.chunks(self.stride) {
            for (sum, value) in self.sum.iter_mut().zip(partial) {
                *sum += value;
            }
        }
    }
}
