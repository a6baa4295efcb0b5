//! One task: some output channels of the gradient, summed over some strips.

use std::ops::Range;

use super::layout::{Layout, Strip};
use super::microkernel::{multiply, Path, Target, Walk};
use super::plan::Plan;
use super::rows::{Source, Spread};
use super::staging::{add_up, pack_x, pack_y, padded_len, Rows};
use crate::cpu::{Kernel, Number, Simd, LANES};
use crate::kernels::cpu::convolution::Geometry;

pub(super) struct Task<'a, T> {
    pub plan: &'a Plan,
    pub part: usize,
    pub chunk: usize,
    pub x: &'a [T],
    /// The load of each group; empty without a load.
    pub load: &'a [Spread],
    pub grad_y: &'a [T],
    /// At least the output channels of the chunk.
    pub grad_weight: &'a mut [f32],
    /// At least the output channels of the chunk, or empty if it is not wanted.
    pub grad_bias: &'a mut [f32],
    /// As many words as all of [`buffer_words`].
    pub buffer: &'a mut [u32],
}

/// Words of the buffers of a task: packed `x` and `grad_y`, a row, a padded row, and for narrow `x`
/// the transposed gradient, `[tap][input channel][output channel]`.
pub(super) fn buffer_words<T: Number>(plan: &Plan) -> [usize; 5] {
    let Plan { layout, geometry, chunk, .. } = plan;
    let row = Source::<T>::buffer_len(geometry).div_ceil(T::PER_WORD);
    let padded = padded_len::<T>(layout, geometry).div_ceil(T::PER_WORD);
    let transposed = geometry.taps() * geometry.in_channels * chunk;
    let [padded, transposed] = [padded, transposed].map(|len| if layout.narrow { len } else { 0 });
    let words = [layout.x_words(), chunk / LANES * layout.y_block, row, padded, transposed];
    words.map(|words| words.next_multiple_of(LANES))
}

impl<T: Number> Kernel for Task<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Plan { layout, geometry, groups, chunk, .. } = self.plan;
        let [x_words, y_words, row_words, padded_words, _] = buffer_words::<T>(self.plan);
        let (x, rest) = self.buffer.split_at_mut(x_words);
        let (grad_y, rest) = rest.split_at_mut(y_words);
        let (row, rest) = rest.split_at_mut(row_words);
        let (padded, transposed) = rest.split_at_mut(padded_words);
        padded.fill(0);
        // SAFETY: f32 and u32 have one size and alignment, and any bits are an f32.
        let transposed = unsafe {
            std::slice::from_raw_parts_mut(transposed.as_mut_ptr().cast::<f32>(), transposed.len())
        };
        let [x, grad_y, row, padded] = [x, grad_y, row, padded].map(<[u32]>::as_mut_ptr);
        let rows = Rows { row: row.cast(), padded: padded.cast() };
        let start = self.chunk * chunk;
        let channels = start..(start + chunk).min(geometry.out_channels);
        let row_len = geometry.taps() * geometry.in_channels;
        let mut first = true;
        let strips = self.plan.strips(self.part);
        for (index, group) in strips.flat_map(|strip| (0..*groups).map(move |g| (strip, g))) {
            let strip = layout.strip(geometry, index);
            let (x_from, load, joined) = (self.x, self.load.get(group), layout.narrow);
            let source = &Source { geometry, groups: *groups, group, x: x_from, load, joined };
            // SAFETY: the buffers have room for any strip, and `Packed` describes what they hold.
            unsafe {
                pack_x(simd, layout, source, &strip, &rows, x);
                pack_y(simd, self.plan, group, self.grad_y, &strip, channels.clone(), grad_y);
                if !self.grad_bias.is_empty() {
                    let sums = &mut self.grad_bias[..channels.len()];
                    if first {
                        sums.fill(0.0);
                    }
                    add_up::<S, T>(simd, layout, &strip, grad_y, sums);
                }
                let channels = channels.len();
                let packed = Packed { layout, geometry, strip, x, grad_y, channels, first };
                match layout.narrow {
                    true => packed.narrow::<S, T>(simd, transposed, *chunk),
                    false => packed.wide::<S, T>(simd, self.grad_weight),
                }
            }
            first = false;
        }
        if layout.narrow {
            transpose(transposed, *chunk, &mut self.grad_weight[..channels.len() * row_len]);
        }
    }
}

/// Writes the rows of `transposed`, `chunk` elements long, to the columns of `to`.
#[inline(always)]
fn transpose(transposed: &[f32], chunk: usize, to: &mut [f32]) {
    let row = transposed.len() / chunk;
    for (channel, to) in to.chunks_mut(row).enumerate() {
        for (to, from) in to.iter_mut().zip(transposed.chunks(chunk)) {
            *to = from[channel];
        }
    }
}

/// A packed strip, whose products are added to the gradient.
struct Packed<'a> {
    layout: &'a Layout,
    geometry: &'a Geometry,
    strip: Strip,
    x: *const u32,
    grad_y: *const u32,
    /// Output channels.
    channels: usize,
    /// This is the first strip, so the gradient is overwritten.
    first: bool,
}

impl Packed<'_> {
    /// Lanes are input channels; output channels are broadcast.
    ///
    /// # Safety
    /// `x` and `grad_y` hold the strip in this layout.
    #[inline(always)]
    unsafe fn wide<S: Simd, T: Number>(&self, simd: S, grad_weight: &mut [f32]) {
        let vectors = self.layout.taps[1] * self.layout.blocks;
        let mut at = 0;
        while at < vectors {
            // SAFETY: as promised.
            unsafe {
                // A single vector leaves registers for twice the channels, which takes as many sums
                // to keep the multipliers busy.
                at += match vectors - at {
                    1 => self.column::<S, T, 1, 16>(simd, at, grad_weight),
                    2 | 4 => self.column::<S, T, 2, 8>(simd, at, grad_weight),
                    _ => self.column::<S, T, 3, 8>(simd, at, grad_weight),
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
    unsafe fn narrow<S: Simd, T: Number>(&self, simd: S, transposed: &mut [f32], chunk: usize) {
        let blocks = self.channels.div_ceil(LANES);
        let lanes = self.layout.lanes;
        let width = [9, 8, 7].into_iter().min_by_key(|width| lanes.next_multiple_of(*width));
        for block in (0..blocks).step_by(2) {
            // SAFETY: as promised.
            unsafe {
                match (width, blocks - block) {
                    (Some(9), 1) => self.runs::<S, T, 1, 9>(simd, block, transposed, chunk),
                    (Some(8), 1) => self.runs::<S, T, 1, 8>(simd, block, transposed, chunk),
                    (_, 1) => self.runs::<S, T, 1, 7>(simd, block, transposed, chunk),
                    (Some(9), _) => self.runs::<S, T, 2, 9>(simd, block, transposed, chunk),
                    (Some(8), _) => self.runs::<S, T, 2, 8>(simd, block, transposed, chunk),
                    (_, _) => self.runs::<S, T, 2, 7>(simd, block, transposed, chunk),
                }
            }
        }
    }

    /// Adds to all taps of the output channels of blocks `block..block + V`.
    ///
    /// # Safety
    /// As for [`wide`](Self::wide).
    #[inline(always)]
    unsafe fn runs<S: Simd, T: Number, const V: usize, const B: usize>(
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
                    let sums = unsafe { multiply::<S, T, V, B>(simd, &swapped, offsets) };
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
    unsafe fn column<S: Simd, T: Number, const V: usize, const B: usize>(
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
            for channel in (0..self.channels).step_by(B) {
                let at = channel / LANES * self.layout.y_block + channel % LANES;
                target.rows = B.min(self.channels - channel);
                let mut walk = walk;
                walk.words.start = walk.words.start.wrapping_add(at);
                // SAFETY: `walk` walks over packed words.
                let sums = unsafe { multiply::<S, T, V, B>(simd, &walk, offsets) };
                target.write(simd, &sums, &mut grad_weight[channel * target.row..]);
            }
        }
        V
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
