//! The order of a task's data in its scratch memory.

use super::super::rows::RING;
use super::super::POSITIONS;
use super::plan::{Plan, CHANNELS};
use crate::cpu::{Line, Number, LANES};

/// Sizes and strides of a task's buffers, in words.
pub(super) struct Layout {
    /// From one position to the next. They are no multiples of a large power of two, so that
    /// positions do not compete for the same sets of the caches.
    pub v_position: usize,
    pub z_position: usize,
    pub sums_position: usize,
    /// One buffer of transformed tiles of `x`.
    pub v: usize,
    /// One buffer of transformed tiles of `grad_y`.
    pub z: usize,
    pub sums: usize,
    /// The sums of `grad_y` for the bias.
    pub bias: usize,
    /// The rows of `x` and `grad_y` that are being transformed.
    pub ring: usize,
}

impl Layout {
    pub(super) fn new<M: Number>(plan: &Plan) -> Layout {
        let padded = |channels: usize| channels.min(CHANNELS).next_multiple_of(LANES);
        let (ins, outs) = (padded(plan.in_channels), padded(plan.out_channels));
        let line = Line::BYTES / size_of::<u32>();
        let (v_position, z_position) = (plan.block * ins + line, plan.block * outs + line);
        let sums_position = ins * outs + line;
        let x_line = (2 * plan.tiles[1] + 2) * ins;
        let grad_y_line = 2 * plan.tiles[1] * outs;
        let ring = plan.images * (RING * x_line + 2 * grad_y_line) * size_of::<M>();
        Layout {
            v_position,
            z_position,
            sums_position,
            v: POSITIONS * v_position,
            z: POSITIONS * z_position,
            sums: POSITIONS * sums_position,
            bias: 2 * outs,
            ring: ring.div_ceil(size_of::<u32>()).next_multiple_of(LANES),
        }
    }

    /// All buffers, with two of `v` and `z` each.
    pub(super) fn words(&self) -> usize {
        self.ring + 2 * self.v + 2 * self.z + self.sums + self.bias
    }
}
