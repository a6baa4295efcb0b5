//! Adds the products of a packed strip to the gradient, tile by tile.

use std::ops::Range;

use super::layout::{Layout, Strip};
use super::microkernel::{multiply, Path, Target, Walk, SUMS};
use crate::cpu::{Number, Simd, LANES};
use crate::kernels::cpu::convolution::Geometry;

/// A packed strip of `x` and `grad_y`.
pub(super) struct PackedStrip<'a> {
    pub layout: &'a Layout,
    pub geometry: &'a Geometry,
    pub strip: Strip,
    pub x: *const u32,
    pub grad_y: *const u32,
    /// Output channels.
    pub channels: usize,
    /// This is the first strip, so the gradient is overwritten.
    pub first: bool,
}

impl PackedStrip<'_> {
    /// Lanes are input channels; output channels are broadcast.
    ///
    /// # Safety
    /// `x` and `grad_y` hold the strip in this layout.
    #[inline(always)]
    pub(super) unsafe fn wide<S: Simd, M: Number>(&self, simd: S, grad_weight: &mut [f32]) {
        let vectors = self.layout.taps[1] * self.layout.blocks;
        let mut at = 0;
        while at < vectors {
            // SAFETY: as promised.
            unsafe {
                // A single vector leaves registers for twice the channels, which takes as many sums
                // to keep the multipliers busy.
                at += match (vectors - at, S::SUMS < SUMS) {
                    (1, false) => self.column::<S, M, 1, 16>(simd, at, grad_weight),
                    (2 | 4, false) => self.column::<S, M, 2, 8>(simd, at, grad_weight),
                    (_, false) => self.column::<S, M, 3, 8>(simd, at, grad_weight),
                    (_, true) => self.column::<S, M, 1, 6>(simd, at, grad_weight),
                };
            }
        }
    }

    /// Lanes are output channels; runs of input channels are broadcast. Adds to
    /// `transposed[tap][input channel][output channel]`, in rows of `chunk` elements.
    ///
    /// # Safety
    /// As for [`wide`](Self::wide).
    #[inline(always)]
    pub(super) unsafe fn narrow<S: Simd, M: Number>(
        &self,
        simd: S,
        transposed: &mut [f32],
        chunk: usize,
    ) {
        let blocks = self.channels.div_ceil(LANES);
        let lanes = self.layout.lanes;
        let least = |widths: [usize; 3]| {
            widths.into_iter().min_by_key(|width| lanes.next_multiple_of(*width))
        };
        if S::SUMS < SUMS {
            for block in 0..blocks {
                // SAFETY: as promised.
                unsafe {
                    match least([6, 5, 4]) {
                        Some(6) => self.runs::<S, M, 1, 6>(simd, block, transposed, chunk),
                        Some(5) => self.runs::<S, M, 1, 5>(simd, block, transposed, chunk),
                        _ => self.runs::<S, M, 1, 4>(simd, block, transposed, chunk),
                    }
                }
            }
            return;
        }
        let width = least([9, 8, 7]);
        for block in (0..blocks).step_by(2) {
            // SAFETY: as promised.
            unsafe {
                match (width, blocks - block) {
                    (Some(9), 1) => self.runs::<S, M, 1, 9>(simd, block, transposed, chunk),
                    (Some(8), 1) => self.runs::<S, M, 1, 8>(simd, block, transposed, chunk),
                    (_, 1) => self.runs::<S, M, 1, 7>(simd, block, transposed, chunk),
                    (Some(9), _) => self.runs::<S, M, 2, 9>(simd, block, transposed, chunk),
                    (Some(8), _) => self.runs::<S, M, 2, 8>(simd, block, transposed, chunk),
                    (_, _) => self.runs::<S, M, 2, 7>(simd, block, transposed, chunk),
                }
            }
        }
    }

    /// Adds to all taps of the output channels of blocks `block..block + V`.
    ///
    /// # Safety
    /// As for [`wide`](Self::wide).
    #[inline(always)]
    unsafe fn runs<S: Simd, M: Number, const V: usize, const B: usize>(
        &self,
        simd: S,
        block: usize,
        transposed: &mut [f32],
        chunk: usize,
    ) {
        let Layout { taps, lanes, x_column, tap_columns, y_block, .. } = *self.layout;
        let mut offsets = [0; V];
        for (v, offset) in offsets.iter_mut().enumerate() {
            *offset = (block + v) * y_block;
        }
        for tap_row in 0..taps[0] {
            let walk = self.walk(tap_row);
            for tap in 0..taps[1] {
                for lane in (0..lanes).step_by(B) {
                    let mut swapped = Walk { vectors: walk.words, words: walk.vectors, ..walk };
                    let start = &mut swapped.words.start;
                    *start = start.wrapping_add(tap * tap_columns * x_column + lane);
                    // SAFETY: `swapped` walks over packed words; those past the run belong to the
                    // next pixels, or to the room after them.
                    let sums = unsafe { multiply::<S, M, V, B>(simd, &swapped, offsets) };
                    let at = (tap_row * taps[1] + tap) * lanes + lane;
                    let mut target = Target {
                        offsets: [0; V],
                        lanes: [LANES; V],
                        row: chunk,
                        rows: B.min(lanes - lane),
                        first: self.first,
                    };
                    for v in 0..V {
                        target.offsets[v] = (block + v) * LANES;
                    }
                    target.write(simd, &sums, &mut transposed[at * chunk..]);
                }
            }
        }
    }

    /// Adds to the vectors `at..at + V` of all rows of taps and all output channels. Returns `V`.
    ///
    /// # Safety
    /// As for [`wide`](Self::wide).
    #[inline(always)]
    unsafe fn column<S: Simd, M: Number, const V: usize, const B: usize>(
        &self,
        simd: S,
        at: usize,
        grad_weight: &mut [f32],
    ) -> usize {
        let Layout { taps, lanes, x_block, x_column, tap_columns, .. } = *self.layout;
        let place = |v: usize| ((at + v) / taps[1], (at + v) % taps[1]);
        let mut offsets = [0; V];
        let mut target = Target {
            offsets: [0; V],
            lanes: [0; V],
            row: taps[0] * taps[1] * lanes,
            rows: B,
            first: self.first,
        };
        for (v, offset) in offsets.iter_mut().enumerate() {
            let (block, tap) = place(v);
            *offset = block * x_block + tap * tap_columns * x_column;
            target.lanes[v] = (lanes - block * LANES).min(LANES);
        }
        for tap_row in 0..taps[0] {
            let walk = self.walk(tap_row);
            for v in 0..V {
                let (block, tap) = place(v);
                target.offsets[v] = (tap_row * taps[1] + tap) * lanes + block * LANES;
            }
            for first in (0..self.channels).step_by(LANES) {
                let mut channel = first;
                while channel < self.channels.min(first + LANES) {
                    // SAFETY: `walk` walks over packed words.
                    unsafe {
                        // Six, five and five channels are 16.
                        channel += match B == 6 && channel > first {
                            true => self.tile::<S, M, V, 5>(
                                simd,
                                walk,
                                offsets,
                                &mut target,
                                channel,
                                grad_weight,
                            ),
                            false => self.tile::<S, M, V, B>(
                                simd,
                                walk,
                                offsets,
                                &mut target,
                                channel,
                                grad_weight,
                            ),
                        };
                    }
                }
            }
        }
        V
    }

    /// Adds to the output channels `channel..channel + B`. Returns `B`.
    ///
    /// # Safety
    /// As for [`wide`](Self::wide).
    #[inline(always)]
    unsafe fn tile<S: Simd, M: Number, const V: usize, const B: usize>(
        &self,
        simd: S,
        mut walk: Walk,
        offsets: [usize; V],
        target: &mut Target<V>,
        channel: usize,
        grad_weight: &mut [f32],
    ) -> usize {
        let at = channel / LANES * self.layout.y_block + channel % LANES;
        walk.words.start = walk.words.start.wrapping_add(at);
        target.rows = B.min(self.channels - channel);
        // SAFETY: `walk` walks over packed words.
        let sums = unsafe { multiply::<S, M, V, B>(simd, &walk, offsets) };
        target.write(simd, &sums, &mut grad_weight[channel * target.row..]);
        B
    }

    /// The walk over the output rows for which row `tap_row` of the taps lies in the image, with
    /// `x` as vectors and `grad_y` as words.
    #[inline(always)]
    fn walk(&self, tap_row: usize) -> Walk {
        let rows = self.valid_rows(tap_row);
        let layout = self.layout;
        let start = rows.start - self.strip.rows.start;
        let x_row = start * layout.row_rows + tap_row * layout.tap_rows;
        Walk {
            images: if rows.is_empty() { 0 } else { self.strip.images.len() },
            rows: rows.len(),
            steps: layout.steps,
            vectors: Path {
                start: self.x.wrapping_add(x_row * layout.x_row),
                image: layout.x_image,
                row: layout.row_rows * layout.x_row,
                step: layout.step_columns * layout.x_column,
            },
            words: Path {
                start: self.grad_y.wrapping_add(start * layout.y_row),
                image: layout.y_image,
                row: layout.y_row,
                step: LANES,
            },
        }
    }

    #[inline(always)]
    fn valid_rows(&self, tap_row: usize) -> Range<usize> {
        let Range { start, end } = self.strip.rows;
        let Geometry { padding, stride, dilation, in_size, .. } = *self.geometry;
        let tap = tap_row * dilation[0];
        // Rows `row` with `padding <= row * stride + tap < padding + height`.
        let least = padding[0].saturating_sub(tap).div_ceil(stride[0]);
        let most = (padding[0] + in_size[0]).saturating_sub(tap).div_ceil(stride[0]);
        let start = start.max(least).min(end);
        start..end.min(most).max(start)
    }
}
