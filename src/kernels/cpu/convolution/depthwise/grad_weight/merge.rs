//! Merges the partial gradients of the tasks.

use super::super::channel_blocks::ChannelBlocks;
use crate::cpu::{dispatch, run_all, Kernel, Parallel, Parts, Simd, LANES};
use crate::error::Result;
use crate::kernels::cpu::reduce;

/// Values that a merging task reads; fewer are not worth another thread.
const MERGE_VALUES: usize = 32 * 1024;

/// Adds up the partial gradients of the tasks, in order, and writes them in the layout of the
/// weight.
pub(super) fn merge(
    parallel: &dyn Parallel,
    blocks: ChannelBlocks,
    vectors: usize,
    partial: &[f32],
    grad_weight: &mut [f32],
    grad_bias: Option<&mut [f32]>,
) -> Result<()> {
    let tasks = partial.len() / (blocks.count() * vectors * LANES);
    let together = MERGE_VALUES.div_ceil(tasks * vectors * LANES);
    let weights = Parts::new(grad_weight, together * LANES * (vectors - 1));
    let biases = grad_bias.map(|bias| Parts::new(bias, together * LANES));
    run_all(parallel, blocks.count().div_ceil(together), |task| {
        let range = task * together..((task + 1) * together).min(blocks.count());
        let weight = weights.take(task);
        let bias = biases.as_ref().map_or(&mut [][..], |biases| biases.take(task));
        dispatch(Merge { blocks, vectors, partial, range, weight, bias });
    })
}

/// The sums of some blocks of channels.
struct Merge<'a> {
    blocks: ChannelBlocks,
    vectors: usize,
    /// `[tasks][blocks][vectors][LANES]`
    partial: &'a [f32],
    range: std::ops::Range<usize>,
    /// The gradient for the channels of these blocks that no earlier block has.
    weight: &'a mut [f32],
    /// The gradient of the bias for the same channels; empty if it is not wanted.
    bias: &'a mut [f32],
}

impl Kernel for Merge<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (vectors, taps) = (self.vectors, self.vectors - 1);
        let stride = self.blocks.count() * vectors * LANES;
        let mut sum = [0.0; LANES];
        for block in self.range.clone() {
            let own = block * LANES..((block + 1) * LANES).min(self.blocks.channels);
            let skipped = own.start - self.blocks.start(block);
            let at = (block - self.range.start) * LANES;
            for vector in 0..vectors {
                let first = (block * vectors + vector) * LANES;
                let total = reduce::sum_vectors(simd, self.partial, stride, first);
                // SAFETY: the array holds a vector.
                unsafe { simd.store_f32(sum.as_mut_ptr(), total) };
                let values = &sum[skipped..skipped + own.len()];
                if vector < taps {
                    let to = self.weight[at * taps + vector..].iter_mut().step_by(taps);
                    to.zip(values).for_each(|(to, value)| *to = *value);
                } else if !self.bias.is_empty() {
                    self.bias[at..at + own.len()].copy_from_slice(values);
                }
            }
        }
    }
}
