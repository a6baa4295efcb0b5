//! Packs units of `x`: the pairs of pixels that neighboring outputs read.

use std::ops::Range;

use half::bf16;

use super::super::pixels::Pixels;
use super::super::DEPTH;
use super::layout::packed_rows;
use super::plan::{Plan, Unit};
use crate::cpu::{prefetch_to_write, Simd, LANES, ROW_WORDS};
use crate::kernels::cpu::convolution::Load;

/// Some channels of a group of `x`, and where a unit of it is packed.
pub(super) struct Input<'a> {
    pub plan: &'a Plan,
    pub x: &'a [bf16],
    /// In all groups.
    pub load: Option<Load<'a>>,
    pub group: usize,
    pub channels: Range<usize>,
    /// A row with its padding, zero where padding is.
    pub padded: *mut bf16,
    /// Words from tile to tile of channels.
    pub tile: usize,
}

impl Input<'_> {
    /// Packs a unit. Rows outside the image stay as they are, since they are not read.
    ///
    /// # Safety
    /// `to` has room for the unit in all tiles, `padded` for a row.
    #[inline(always)]
    pub(super) unsafe fn pack<S: Simd>(&self, simd: S, unit: &Unit, to: *mut u32) {
        let Plan { geometry, layout, .. } = self.plan;
        let [height, _] = geometry.in_size;
        for image in 0..layout.images {
            for row in 0..packed_rows(geometry, unit.rows.len()) {
                let y =
                    (unit.rows.start * geometry.stride[0] + row).wrapping_sub(geometry.padding[0]);
                if y >= height {
                    continue;
                }
                let to = to.wrapping_add(row * layout.x_row + image * ROW_WORDS);
                unsafe {
                    self.pad(simd, (image < unit.images).then_some(unit.first_image + image), y);
                    self.pairs(simd, to);
                }
            }
        }
    }

    /// Fills the padded row with row `y` of an image; with zeros where there is no image.
    #[inline(always)]
    unsafe fn pad<S: Simd>(&self, simd: S, image: Option<usize>, y: usize) {
        let Plan { geometry, layout, groups, .. } = self.plan;
        let ([height, width], padding) = (geometry.in_size, geometry.padding[1]);
        let (pixel, all) = (layout.pixel(self.channels.len()), groups * geometry.in_channels);
        let to = self.padded.wrapping_add(padding * pixel);
        let Some(image) = image else {
            // SAFETY: the row has room for the pixels.
            return unsafe { std::ptr::write_bytes(to, 0, width * pixel) };
        };
        let first = self.group * geometry.in_channels;
        let row = &self.x[(image * height + y) * width * all..][..width * all];
        for start in self.channels.clone().step_by(DEPTH) {
            let end = self.channels.end.min(start + DEPTH);
            let from = first + start..first + end;
            let pixels = Pixels {
                count: width,
                numbers: end - start,
                from: row[from.start..].as_ptr(),
                stride: all,
                to: to.wrapping_add(start - self.channels.start),
                pixel,
            };
            // SAFETY: as above.
            unsafe { pixels.copy_loaded(simd, self.load, from) };
        }
    }

    /// Packs the padded row.
    #[inline(always)]
    unsafe fn pairs<S: Simd>(&self, simd: S, to: *mut u32) {
        let Plan { geometry, layout, .. } = self.plan;
        let pixel = layout.pixel(self.channels.len());
        let next = geometry.stride[1] * pixel;
        for tile in 0..self.channels.len().div_ceil(LANES) {
            for (i, remainder) in layout.remainders.iter().enumerate() {
                let from = self.padded.cast_const().wrapping_add(remainder * pixel + tile * LANES);
                let place = i * layout.columns * layout.images * ROW_WORDS;
                let to = to.wrapping_add(tile * self.tile + place);
                // SAFETY: the padded row has all columns and room for a vector after them.
                unsafe {
                    match next {
                        LANES => self.columns::<S, true>(simd, from, LANES, to),
                        next => self.columns::<S, false>(simd, from, next, to),
                    }
                }
            }
        }
    }

    /// Packs the columns of one remainder and tile. `ADJACENT`: the pixels of a word are adjacent
    /// vectors.
    #[inline(always)]
    unsafe fn columns<S: Simd, const ADJACENT: bool>(
        &self,
        simd: S,
        from: *const bf16,
        next: usize,
        to: *mut u32,
    ) {
        let layout = &self.plan.layout;
        let step = layout.step * layout.pixel(self.channels.len());
        for column in 0..layout.columns {
            let from = from.wrapping_add(column * step);
            let to = to.wrapping_add(column * layout.images * ROW_WORDS);
            // The next row.
            prefetch_to_write(to.wrapping_add(layout.x_row));
            unsafe {
                let words = match ADJACENT {
                    true => simd.interleave_next(from),
                    false => simd.interleave(from, from.wrapping_add(next)),
                };
                simd.store_words(to, words);
            }
        }
    }
}
