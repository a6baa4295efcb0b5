//! Writes the sums of a task in the order of the weight.

use std::ops::Range;

use super::layout::Run;
use super::plan::Plan;
use crate::cpu::{SharedSlice, LANES, ROW_WORDS, TILE_WORDS};

/// The part of the gradient that a task has computed.
pub(super) struct Merge<'a> {
    pub plan: &'a Plan,
    pub outs: Range<usize>,
    pub ins: Range<usize>,
}

impl Merge<'_> {
    /// `sums` are `[tile of output channels][row of taps][run][tile of input channels][16][16]`.
    pub(super) fn weight(&self, sums: &[f32], to: SharedSlice<'_, f32>) {
        let (geometry, layout) = (&self.plan.geometry, &self.plan.layout);
        let (taps, in_tiles) = (geometry.taps(), self.ins.len().div_ceil(LANES));
        let mut streams = sums.chunks_exact(TILE_WORDS);
        for first in self.outs.clone().step_by(LANES) {
            for tap_row in 0..geometry.kernel_size[0] {
                for (run, tile) in
                    layout.runs.iter().flat_map(|run| (0..in_tiles).map(move |tile| (run, tile)))
                {
                    let Some(sums) = streams.next() else { return };
                    let rows = (first..self.outs.end).zip(sums.chunks_exact(ROW_WORDS));
                    for (out, sums) in rows.take(LANES) {
                        let row = out * taps + tap_row * geometry.kernel_size[1];
                        self.row(run, tile, row, sums, to);
                    }
                }
            }
        }
    }

    /// Writes one row of a tile, whose taps follow tap `row` of the whole weight.
    fn row(&self, run: &Run, tile: usize, row: usize, sums: &[f32], to: SharedSlice<'_, f32>) {
        let channels = self.plan.geometry.in_channels;
        let write = |tap: usize, first: usize, sums: &[f32]| {
            // SAFETY: elements of the output and input channels of this task.
            unsafe {
                let to = to.at((row + tap) * channels + first, sums.len());
                std::ptr::copy_nonoverlapping(sums.as_ptr(), to, sums.len());
            }
        };
        if self.plan.layout.taps == 1 {
            let first = self.ins.start + tile * LANES;
            return write(run.first, first, &sums[..LANES.min(self.ins.end - first)]);
        }
        for (tap, sums) in (run.first..).zip(sums.chunks_exact(channels)) {
            if (run.new..run.first + self.plan.layout.taps).contains(&tap) {
                write(tap, 0, sums);
            }
        }
    }

    /// `sums` are `[tile of output channels][16][16]`, with equal columns.
    pub(super) fn bias(&self, sums: &[f32], to: SharedSlice<'_, f32>) {
        for (out, sums) in self.outs.clone().zip(sums.chunks_exact(ROW_WORDS)) {
            // SAFETY: an element of the output channels of this task.
            unsafe { to.at(out, 1).write(sums[0]) };
        }
    }
}
