//! Adds up the partial gradients of tasks.
//!
//! They are added in the order of the tasks, so that results do not depend on the threads.

use crate::cpu::{run_all, vectorized, Parallel, Parts, Simd, Vectorized, LANES};
use crate::error::Result;

/// Elements of a task.
const PART: usize = 4096;

/// Adds the `partials`, which are `stride` elements apart, to `total`.
pub(super) fn add(
    parallel: &dyn Parallel,
    total: &mut [f32],
    partials: &[f32],
    stride: usize,
) -> Result<()> {
    match partials {
        [] => Ok(()),
        _ => run(parallel, false, total, partials, stride),
    }
}

/// Writes the sum of the `partials`, which are as long as `total`.
pub(super) fn sum(parallel: &dyn Parallel, total: &mut [f32], partials: &[f32]) -> Result<()> {
    let stride = total.len();
    run(parallel, true, total, partials, stride)
}

fn run(
    parallel: &dyn Parallel,
    fresh: bool,
    total: &mut [f32],
    partials: &[f32],
    stride: usize,
) -> Result<()> {
    let tasks = total.len().div_ceil(PART);
    let parts = Parts::new(total, PART);
    run_all(parallel, tasks, |index| {
        let (total, partials) = (parts.take(index), &partials[index * PART..]);
        vectorized(Add { fresh, total, partials, stride });
    })
}

struct Add<'a> {
    /// The total starts at zero.
    fresh: bool,
    total: &'a mut [f32],
    partials: &'a [f32],
    stride: usize,
}

impl Vectorized for Add<'_> {
    #[inline(always)]
    fn run(self) {
        if self.fresh {
            self.total.fill(0.0);
        }
        for partial in self.partials.chunks(self.stride) {
            for (total, value) in self.total.iter_mut().zip(partial) {
                *total += value;
            }
        }
    }
}

/// The sum of the vectors that start at element `at` of each of the `partials`, which are `stride`
/// elements long.
#[inline(always)]
pub(super) fn sum_vectors<S: Simd>(simd: S, partials: &[f32], stride: usize, at: usize) -> S::F {
    let mut sum = simd.zero();
    for partial in partials.chunks_exact(stride) {
        let vector = &partial[at..at + LANES];
        // SAFETY: the slice holds a vector.
        sum = simd.add(sum, unsafe { simd.load_f32(vector.as_ptr()) });
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{noise, Scoped};
    use crate::cpu::Serial;

    #[test]
    fn partials_are_added_in_order() {
        for len in [1, LANES, PART, 2 * PART + 5] {
            let partials: Vec<f32> = noise(1, 3 * len).collect();
            let expected: Vec<f32> =
                (0..len).map(|i| partials[i] + partials[len + i] + partials[2 * len + i]).collect();
            let mut total = vec![f32::NAN; len];
            sum(&Scoped(3), &mut total, &partials).unwrap();
            assert_eq!(total, expected);
            total.copy_from_slice(&partials[..len]);
            add(&Serial, &mut total, &partials[len..], len).unwrap();
            assert_eq!(total, expected);
        }
        let mut total = [1.0];
        add(&Serial, &mut total, &[], 1).unwrap();
        assert_eq!(total, [1.0]);
        sum(&Serial, &mut [], &[]).unwrap();
    }
}
