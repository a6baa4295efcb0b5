//! Packs units of `x` and `grad_y`.

use std::ops::Range;

use half::bf16;

use super::super::pixels::Pixels;
use super::super::DEPTH;
use super::layout::packed_rows;
use super::plan::{Plan, Unit};
use crate::cpu::{Simd, LANES, ROW_WORDS, TILE_WORDS};
use crate::kernels::cpu::convolution::Load;

static ZEROS: [bf16; LANES] = [bf16::ZERO; LANES];

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
                let mut from =
                    self.padded.cast_const().wrapping_add(remainder * pixel + tile * LANES);
                let place = i * layout.columns * layout.images * ROW_WORDS;
                let mut to = to.wrapping_add(tile * self.tile + place);
                for _ in 0..layout.columns {
                    // SAFETY: the padded row has all columns and room for a vector after them.
                    unsafe { simd.store_words(to, simd.interleave(from, from.wrapping_add(next))) };
                    from = from.wrapping_add(layout.step * pixel);
                    to = to.wrapping_add(layout.images * ROW_WORDS);
                }
            }
        }
    }
}

/// Some channels of a group of `grad_y`, and where a unit of it is packed.
pub(super) struct Output<'a> {
    pub plan: &'a Plan,
    pub grad_y: &'a [bf16],
    pub group: usize,
    pub channels: Range<usize>,
    /// Words from tile to tile of channels.
    pub tile: usize,
}

impl Output<'_> {
    /// Packs a unit, with zeros for pairs that do not exist.
    ///
    /// # Safety
    /// `to` has room for the unit in all tiles.
    #[inline(always)]
    pub(super) unsafe fn pack<S: Simd>(&self, simd: S, unit: &Unit, to: *mut u32) {
        let layout = &self.plan.layout;
        for (i, row) in unit.rows.clone().enumerate() {
            for tile in 0..layout.tiles {
                let to = to.wrapping_add(i * layout.y_row + tile * TILE_WORDS);
                for (j, first) in self.channels.clone().step_by(LANES).enumerate() {
                    let count = LANES.min(self.channels.end - first);
                    let to = to.wrapping_add(j * self.tile);
                    unsafe { self.transposed(simd, unit, row, tile, first..first + count, to) };
                }
            }
        }
    }

    /// Packs one tile: pairs of pixels become its columns.
    #[inline(always)]
    unsafe fn transposed<S: Simd>(
        &self,
        simd: S,
        unit: &Unit,
        row: usize,
        tile: usize,
        channels: Range<usize>,
        to: *mut u32,
    ) {
        let Plan { geometry, layout, groups, .. } = self.plan;
        let ([height, width], all) = (geometry.out_size(), groups * geometry.out_channels);
        let mut words = [[0u32; ROW_WORDS]; LANES];
        for (i, words) in words.iter_mut().enumerate().take(layout.pairs) {
            let pair = tile * layout.pairs + i;
            let (column, image) = (2 * (pair / layout.images), pair % layout.images);
            if image >= unit.images || column >= width {
                continue;
            }
            let pixel = ((unit.first_image + image) * height + row) * width + column;
            let at = pixel * all + self.group * geometry.out_channels + channels.start;
            let low = &self.grad_y[at..at + channels.len()];
            let high = if column + 1 < width { &self.grad_y[at + all..][..low.len()] } else { &[] };
            unsafe { simd.store_words(words.as_mut_ptr(), pair_of(simd, low, high)) };
        }
        unsafe { simd.transpose(words.as_ptr().cast(), to) };
    }
}

/// The words of two pixels with up to 16 channels; the second may be empty, which is zero.
#[inline(always)]
unsafe fn pair_of<S: Simd>(simd: S, low: &[bf16], high: &[bf16]) -> S::W {
    if low.len() == LANES {
        let high = if high.is_empty() { &ZEROS } else { high };
        // SAFETY: both are vectors.
        return unsafe { simd.interleave(low.as_ptr(), high.as_ptr()) };
    }
    let mut both = [[bf16::ZERO; LANES]; 2];
    both[0][..low.len()].copy_from_slice(low);
    both[1][..high.len()].copy_from_slice(high);
    // SAFETY: as above.
    unsafe { simd.interleave(both[0].as_ptr(), both[1].as_ptr()) }
}
