//! Packs units of `grad_y`: pairs of pixels, with the channels as rows.

use std::ops::Range;

use half::bf16;

use super::super::pixels::prefetch_ahead;
use super::plan::{Plan, Unit};
use crate::cpu::{prefetch_to_write, Simd, LANES, ROWS, ROW_WORDS, TILE_WORDS};

static ZEROS: [bf16; LANES] = [bf16::ZERO; LANES];

/// Some channels of a group of `grad_y`, and where a unit of it is packed.
pub(super) struct Output<'a> {
    pub plan: &'a Plan,
    pub grad_y: &'a [bf16],
    pub group: usize,
    pub channels: Range<usize>,
    /// Words from tile to tile of channels.
    pub tile: usize,
}

/// A pair of pixels of a row.
#[derive(Clone, Copy)]
struct Pair {
    /// The pair of the tile, and the numbers from the first pixel of the unit's first image to it.
    index: usize,
    at: usize,
    /// There is a second pixel.
    both: bool,
}

impl Output<'_> {
    /// Packs a unit, with zeros for pairs that do not exist.
    ///
    /// # Safety
    /// `to` has room for the unit in all tiles.
    #[inline(always)]
    pub(super) unsafe fn pack<S: Simd>(&self, simd: S, unit: &Unit, to: *mut u32) {
        let Plan { geometry, layout, groups, .. } = self.plan;
        let ([height, width], all) = (geometry.out_size(), groups * geometry.out_channels);
        for tile in 0..layout.tiles {
            let pairs = self.pairs(unit, tile);
            for first in self.channels.clone().step_by(LANES) {
                let count = LANES.min(self.channels.end - first);
                let place = (first - self.channels.start) / LANES * self.tile + tile * TILE_WORDS;
                let mut words = [[0; ROW_WORDS]; ROWS];
                for (i, row) in unit.rows.clone().enumerate() {
                    let pixel = (unit.first_image * height + row) * width;
                    let from = pixel * all + self.group * geometry.out_channels + first;
                    unsafe {
                        let to = to.wrapping_add(i * layout.y_row + place);
                        for row in 0..LANES {
                            prefetch_to_write(to.wrapping_add(layout.y_row + row * ROW_WORDS));
                        }
                        match (count, all) {
                            (LANES, LANES) => self.whole::<S, true>(simd, &pairs, from, &mut words),
                            (LANES, _) => self.whole::<S, false>(simd, &pairs, from, &mut words),
                            _ => self.part(simd, &pairs, from, count, &mut words),
                        }
                        simd.transpose(words.as_ptr().cast(), to);
                    }
                }
            }
        }
    }

    /// The pairs of a tile that exist.
    #[inline(always)]
    fn pairs(&self, unit: &Unit, tile: usize) -> Vec<Pair> {
        let Plan { geometry, layout, groups, .. } = self.plan;
        let ([height, width], all) = (geometry.out_size(), groups * geometry.out_channels);
        let pair = |index: usize| {
            let pair = tile * layout.pairs + index;
            let (column, image) = (2 * (pair / layout.images), pair % layout.images);
            let at = (image * height * width + column) * all;
            let exists = image < unit.images && column < width;
            exists.then_some(Pair { index, at, both: column + 1 < width })
        };
        (0..layout.pairs).filter_map(pair).collect()
    }

    /// The words of pairs of pixels with 16 channels, from number `from` of `grad_y` on.
    /// `ADJACENT`: pixels have no others.
    #[inline(always)]
    unsafe fn whole<S: Simd, const ADJACENT: bool>(
        &self,
        simd: S,
        pairs: &[Pair],
        from: usize,
        words: &mut [[u32; ROW_WORDS]; ROWS],
    ) {
        let all = self.plan.groups * self.plan.geometry.out_channels;
        for pair in pairs {
            let low = self.grad_y[from + pair.at..][..LANES].as_ptr();
            prefetch_ahead(low);
            unsafe {
                let pairs = match (pair.both, ADJACENT) {
                    (true, true) => simd.interleave_next(low),
                    (true, false) => simd.interleave(low, low.wrapping_add(all)),
                    (false, _) => simd.interleave(low, ZEROS.as_ptr()),
                };
                simd.store_words(words[pair.index].as_mut_ptr(), pairs);
            }
        }
    }

    /// As `whole`, with fewer channels.
    #[inline(always)]
    unsafe fn part<S: Simd>(
        &self,
        simd: S,
        pairs: &[Pair],
        from: usize,
        count: usize,
        words: &mut [[u32; ROW_WORDS]; ROWS],
    ) {
        let all = self.plan.groups * self.plan.geometry.out_channels;
        for pair in pairs {
            let mut both = [ZEROS; 2];
            let low = from + pair.at;
            both[0][..count].copy_from_slice(&self.grad_y[low..low + count]);
            if pair.both {
                both[1][..count].copy_from_slice(&self.grad_y[low + all..][..count]);
            }
            // SAFETY: both are vectors.
            unsafe {
                let pairs = simd.interleave(both[0].as_ptr(), both[1].as_ptr());
                simd.store_words(words[pair.index].as_mut_ptr(), pairs);
            }
        }
    }
}
