//! One task: some output channels of the gradient, over some strips of the images.

use std::ops::Range;

use super::layout::{Layout, Strip, LANES};
use super::pack::{add_up, pack_x, pack_y};
use super::pad::{Source, Spread};
use super::plan::Plan;
use super::tile::{multiply, Target, Walk};
use crate::kernels::cpu::convolution::Geometry;
use crate::kernels::cpu::simd::{Kernel, Number, Simd};

pub(super) struct Task<'a, T> {
    pub plan: &'a Plan,
    pub part: usize,
    pub chunk: usize,
    pub x: &'a [T],
    pub load: Option<&'a Spread>,
    pub grad_y: &'a [T],
    /// Of the chunk's output channels, or more of them.
    pub grad_weight: &'a mut [f32],
    /// Of the chunk's output channels, or more; or empty if not asked for.
    pub grad_bias: &'a mut [f32],
    /// Of [`buffer_words`] in all.
    pub buffer: &'a mut [u32],
}

/// Words of the buffers of a task.
pub(super) fn buffer_words<T: Number>(plan: &Plan) -> [usize; 3] {
    let Plan { layout, geometry, chunk, .. } = plan;
    let rows = Source::<T>::new(layout, geometry, &[], None).buffer_len(layout);
    let y_words = chunk / LANES * layout.y_block;
    [layout.x_words().next_multiple_of(LANES), y_words, rows.div_ceil(T::PER_WORD)]
}

impl<T: Number> Kernel for Task<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Plan { layout, geometry, chunk, .. } = self.plan;
        let source = Source::new(layout, geometry, self.x, self.load);
        let [x_words, y_words, _] = buffer_words::<T>(self.plan);
        let (x, rest) = self.buffer.split_at_mut(x_words);
        let (grad_y, rows) = rest.split_at_mut(y_words);
        assert!(rows.len() * T::PER_WORD >= source.buffer_len(layout));
        rows.fill(0);
        let [x, grad_y, rows] = [x, grad_y, rows].map(<[u32]>::as_mut_ptr);
        let start = self.chunk * chunk;
        let channels = start..(start + chunk).min(geometry.out_channels);
        let mut first = true;
        for index in self.plan.strips(self.part) {
            let strip = layout.strip(geometry, index);
            // SAFETY: the buffers have room for any strip, and `Packed` is told what is in them.
            unsafe {
                pack_x(simd, layout, &source, &strip, rows.cast(), x);
                pack_y(simd, layout, geometry, self.grad_y, &strip, channels.clone(), grad_y);
                if !self.grad_bias.is_empty() {
                    let sums = &mut self.grad_bias[..channels.len()];
                    if first {
                        sums.fill(0.0);
                    }
                    add_up::<S, T>(simd, layout, &strip, grad_y, sums);
                }
                let channels = channels.len();
                let packed = Packed { layout, geometry, strip, x, grad_y, channels, first };
                packed.multiply::<S, T>(simd, self.grad_weight);
            }
            first = false;
        }
    }
}

/// A packed strip, to be added to the gradient.
struct Packed<'a> {
    layout: &'a Layout,
    geometry: &'a Geometry,
    strip: Strip,
    x: *const u32,
    grad_y: *const u32,
    /// Output channels.
    channels: usize,
    /// The gradient is empty yet.
    first: bool,
}

impl Packed<'_> {
    /// # Safety
    /// `x` and `grad_y` hold the strip in this layout.
    #[inline(always)]
    unsafe fn multiply<S: Simd, T: Number>(&self, simd: S, grad_weight: &mut [f32]) {
        let vectors = self.layout.taps[1] * self.layout.blocks;
        let mut at = 0;
        while at < vectors {
            // SAFETY: as promised.
            unsafe {
                // A single vector leaves room for twice the channels: sums enough to keep the
                // multipliers busy.
                at += match vectors - at {
                    1 => self.column::<S, T, 1, 16>(simd, at, grad_weight),
                    2 | 4 => self.column::<S, T, 2, 8>(simd, at, grad_weight),
                    _ => self.column::<S, T, 3, 8>(simd, at, grad_weight),
                };
            }
        }
    }

    /// The vectors `at..at + V` of all rows of taps and all output channels; returns `V`.
    ///
    /// # Safety
    /// As for [`multiply`](Self::multiply).
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
        for v in 0..V {
            let (block, tap) = place(v);
            offsets[v] = block * x_block + tap * tap_columns * x_column;
            target.lanes[v] = (lanes - block * LANES).min(LANES);
        }
        for tap_row in 0..taps[0] {
            let (walk, x, grad_y) = self.walk(tap_row);
            for v in 0..V {
                let (block, tap) = place(v);
                target.offsets[v] = (tap_row * taps[1] + tap) * lanes + block * LANES;
            }
            for channel in (0..self.channels).step_by(B) {
                let at = channel / LANES * self.layout.y_block + channel % LANES;
                target.rows = B.min(self.channels - channel);
                // SAFETY: `walk` goes through what is packed.
                let sums = unsafe {
                    multiply::<S, T, V, B>(simd, &walk, x, offsets, grad_y.wrapping_add(at))
                };
                target.write(simd, &sums, &mut grad_weight[channel * target.row..]);
            }
        }
        V
    }

    /// The output rows for which row `tap_row` of the taps lies in the image, and where they begin.
    #[inline(always)]
    fn walk(&self, tap_row: usize) -> (Walk, *const u32, *const u32) {
        let rows = self.valid_rows(tap_row);
        let layout = self.layout;
        let start = rows.start - self.strip.rows.start;
        let walk = Walk {
            images: if rows.is_empty() { 0 } else { self.strip.images.len() },
            rows: rows.len(),
            steps: layout.steps,
            x_image: layout.x_image,
            x_row: layout.row_rows * layout.x_row,
            x_step: layout.step_columns * layout.x_column,
            y_image: layout.y_image,
            y_row: layout.y_row,
        };
        let x_row = start * layout.row_rows + tap_row * layout.tap_rows;
        let x = self.x.wrapping_add(x_row * layout.x_row);
        (walk, x, self.grad_y.wrapping_add(start * layout.y_row))
    }

    #[inline(always)]
    fn valid_rows(&self, tap_row: usize) -> Range<usize> {
        let Range { start, end } = self.strip.rows;
        if self.layout.gather {
            return start..end;
        }
        let Geometry { padding, stride, dilation, in_size, .. } = *self.geometry;
        let tap = tap_row * dilation[0];
        // Rows `row` with `padding <= row * stride + tap < padding + height`.
        let least = padding[0].saturating_sub(tap).div_ceil(stride[0]);
        let most = (padding[0] + in_size[0]).saturating_sub(tap).div_ceil(stride[0]);
        let start = start.max(least).min(end);
        start..end.min(most).max(start)
    }
}
