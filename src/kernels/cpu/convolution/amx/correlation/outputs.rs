//! The outputs of a strip in a unit, tile after tile.

use half::bf16;

use super::ahead::Ahead;
use super::epilogue::Place;
use super::layout::Layout;
use super::microkernel::Products;
use super::plan::Plan;
use super::strip::Strip;
use crate::cpu::{Simd, Tiles, TILE_WORDS};
use crate::kernels::cpu::convolution::epilogue::Epilogue;

/// The outputs of a strip in a unit, in tiles.
pub(super) struct Outputs {
    /// Tiles of all rows.
    count: usize,
    per_row: usize,
    /// Outputs of a tile and of a row.
    tile: usize,
    row: usize,
    /// Words of the source from row to row and from pixel to pixel.
    source_row: usize,
    pixel: usize,
}

impl Outputs {
    #[inline(always)]
    pub(super) fn new(plan: &Plan, layout: &Layout, strip: &Strip, rows: usize) -> Outputs {
        let (tile, row) = (plan.tile, strip.pixels.len());
        let per_row = row.div_ceil(tile);
        let (source_row, pixel) = (plan.vertical.step * layout.row, layout.line);
        Outputs { count: rows * per_row, per_row, tile, row, source_row, pixel }
    }

    /// Words of the source to the pixels of the first output of a tile.
    #[inline(always)]
    fn at(&self, tile: usize) -> usize {
        tile / self.per_row * self.source_row + tile % self.per_row * self.tile * self.pixel
    }

    /// Stores some tiles, from tile `first` on.
    #[inline(always)]
    unsafe fn store<S: Simd>(
        &self,
        simd: S,
        epilogue: &mut Epilogue<bf16>,
        [first, count]: [usize; 2],
        blocks: usize,
        sums: *const f32,
    ) {
        for i in 0..count {
            let (row, at) = ((first + i) / self.per_row, (first + i) % self.per_row * self.tile);
            let place = Place { row, at, outputs: self.tile.min(self.row - at) };
            unsafe { epilogue.store(simd, place, blocks, sums.add(i * blocks * TILE_WORDS)) };
        }
    }

    /// The number of steps of so many blocks: two, or one if there is no other.
    pub(super) fn steps(&self, strip: &Strip, blocks: usize) -> usize {
        let (two, one) = (blocks / 2, blocks % 2);
        (two * self.count.div_ceil(2) + one * self.count.div_ceil(4)) * strip.steps.len()
    }

    /// All tiles of two blocks.
    ///
    /// # Safety
    /// The products and the epilogue are those of this strip.
    #[inline(always)]
    pub(super) unsafe fn two<S: Simd, T: Tiles>(
        &self,
        simd: S,
        tiles: &mut T,
        products: Products,
        epilogue: &mut Epilogue<bf16>,
        (sums, ahead): (*mut f32, &mut Ahead<S>),
    ) {
        let mut tile = 0;
        unsafe {
            while tile + 2 <= self.count {
                let at = [self.at(tile), self.at(tile + 1)];
                products.square::<S, T, 2, 2>(tiles, at, sums, ahead);
                self.store(simd, epilogue, [tile, 2], 2, sums);
                tile += 2;
            }
            if tile < self.count {
                products.square::<S, T, 1, 2>(tiles, [self.at(tile)], sums, ahead);
                self.store(simd, epilogue, [tile, 1], 2, sums);
            }
        }
    }

    /// All tiles of one block.
    ///
    /// # Safety
    /// As for `two`.
    #[inline(always)]
    pub(super) unsafe fn one<S: Simd, T: Tiles>(
        &self,
        simd: S,
        tiles: &mut T,
        products: Products,
        epilogue: &mut Epilogue<bf16>,
        (sums, ahead): (*mut f32, &mut Ahead<S>),
    ) {
        let mut tile = 0;
        unsafe {
            while tile + 4 <= self.count {
                let at = [tile, tile + 1, tile + 2, tile + 3].map(|tile| self.at(tile));
                products.row(tiles, at, sums, ahead);
                self.store(simd, epilogue, [tile, 4], 1, sums);
                tile += 4;
            }
            while tile < self.count {
                products.square::<S, T, 1, 1>(tiles, [self.at(tile)], sums, ahead);
                self.store(simd, epilogue, [tile, 1], 1, sums);
                tile += 1;
            }
        }
    }
}
