//! Writes rows of the master weight into a packed weight.

use half::bf16;

use super::fold::{Fold, Step};
use super::DEPTH;
use crate::cpu::{Element, Kernel, Simd, LANES, TILE_WORDS};
use crate::kernels::cpu::convolution::Operand;

/// Rows of the master weight, which are output channels of the convolution.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// The first row, a multiple of 16.
    pub first: usize,
    /// Elements of a row, `[tap][channels]`.
    pub row: usize,
    pub channels: usize,
    pub values: &'a [f32],
}

impl<'a> Rows<'a> {
    /// The channels of row `i` for one tap of the kernel.
    #[inline(always)]
    fn tap(&self, i: usize, tap: usize) -> &'a [f32] {
        let start = i * self.row + tap * self.channels;
        &self.values[start..start + self.channels]
    }

    #[inline(always)]
    fn count(&self) -> usize {
        self.values.len() / self.row
    }
}

pub(super) struct Pack<'a> {
    pub rows: Rows<'a>,
    pub operand: Operand,
    pub fold: Fold,
    pub steps: &'a [Step],
    /// The packed weight, which has room for the rows.
    pub to: *mut u32,
}

impl Kernel for Pack<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (index, step) in self.steps.iter().enumerate() {
            match self.operand {
                Operand::Forward => {
                    for i in (0..self.rows.count()).step_by(LANES) {
                        self.columns(simd, index, step, i);
                    }
                }
                Operand::GradInput => {
                    for (run, tap) in step.taps.iter().enumerate() {
                        if let Some(tap) = *tap {
                            self.contracted(simd, index, step.plane, run, tap);
                        }
                    }
                }
            }
        }
    }
}

impl Pack<'_> {
    /// The tile of a block of output channels for a step.
    #[inline(always)]
    fn tile(&self, block: usize, step: usize) -> *mut u32 {
        // SAFETY: block and step are those of the packed weight.
        unsafe { self.to.add((block * self.steps.len() + step) * TILE_WORDS) }
    }

    /// Packs up to 16 rows from row `i` on as the columns of a tile; pairs are adjacent channels.
    #[inline(always)]
    fn columns<S: Simd>(&self, simd: S, index: usize, step: &Step, i: usize) {
        let channels = self.fold.plane_channels(step.plane);
        let mut numbers = [[bf16::ZERO; DEPTH]; LANES];
        for (column, numbers) in numbers.iter_mut().enumerate().take(self.rows.count() - i) {
            for (run, tap) in step.taps.iter().enumerate() {
                let Some(tap) = *tap else { continue };
                let from = &self.rows.tap(i + column, tap)[channels.clone()];
                let to = &mut numbers[run * self.fold.channels..][..channels.len()];
                for (from, to) in from.chunks(LANES).zip(to.chunks_mut(LANES)) {
                    // SAFETY: both have as many elements.
                    unsafe {
                        let values = simd.load_first_f32(from.as_ptr(), from.len());
                        simd.store_first_bf16(to.as_mut_ptr(), values, from.len());
                    }
                }
            }
        }
        let tile = self.tile((self.rows.first + i) / LANES, index);
        // SAFETY: both are tiles.
        unsafe { simd.transpose(numbers.as_ptr().cast(), tile) };
    }

    /// Packs the rows as contracted numbers of a plane: those of one tap, which are run `run` of
    /// the line. Columns are input channels.
    #[inline(always)]
    fn contracted<S: Simd>(&self, simd: S, index: usize, plane: usize, run: usize, tap: usize) {
        let Rows { first, channels, .. } = self.rows;
        let contracted = self.fold.plane_channels(plane);
        let start = first.max(contracted.start);
        let end = (first + self.rows.count()).min(contracted.end);
        let place = |row: usize| run * self.fold.channels + row - contracted.start;
        let mut row = start;
        while row < end {
            // The two numbers of a word, if both are here.
            let both = place(row) % 2 == 0 && row + 1 < end;
            for block in 0..channels.div_ceil(LANES) {
                let from = |row: usize| &self.rows.tap(row - first, tap)[block * LANES..];
                let count = LANES.min(channels - block * LANES);
                let word = self.tile(block, index).wrapping_add(place(row) / 2 * LANES);
                if both {
                    // SAFETY: a row of the tile; loads stay within the rows.
                    unsafe {
                        let low = simd.load_first_f32(from(row).as_ptr(), count);
                        let high = simd.load_first_f32(from(row + 1).as_ptr(), count);
                        simd.store_words(word, simd.join(low, high));
                    }
                } else {
                    let half = word.cast::<bf16>().wrapping_add(place(row) % 2);
                    for (column, value) in from(row)[..count].iter().enumerate() {
                        // SAFETY: a half of a word of the tile.
                        unsafe { *half.add(2 * column) = <bf16 as Element>::from_f32(*value) };
                    }
                }
            }
            row += if both { 2 } else { 1 };
        }
    }
}
