//! The inner loops for three rows of taps without stride: a row of `x` is multiplied by three rows
//! of `grad_y`, two of which the row before it has loaded. Two loads for three products.

use super::microkernel::Products;
use crate::cpu::{Tiles, ROW_BYTES, ROW_WORDS, TILE_WORDS};

/// Rows of taps.
pub(super) const TAPS: usize = 3;

/// The rows of a unit.
#[derive(Clone, Copy)]
pub(super) struct Rolled {
    /// Words to the first row, of packed `grad_y` and of packed `x`.
    pub y: usize,
    pub x: usize,
    /// Rows of `grad_y`. There are two more of `x`, of which those from `first` to `end` lie in the
    /// image.
    pub rows: usize,
    pub first: usize,
    pub end: usize,
}

/// The rows of one column of tiles: where they start, and words from row to row.
struct Rows {
    y: *const u32,
    x: *const u32,
    y_row: usize,
    x_row: usize,
    rolled: Rolled,
}

impl Products<'_> {
    /// Adds to the sums of one tile of output channels and one stream, for all rows of taps, which
    /// are `taps` elements apart.
    ///
    /// # Safety
    /// The packed strips and the sums have what the fields describe; `spans` are not regarded.
    #[inline(always)]
    pub(super) unsafe fn roll<T: Tiles>(
        &self,
        tiles: &mut T,
        x: *const u32,
        units: &[Rolled],
        taps: usize,
    ) {
        let sums = [self.sums, self.sums.wrapping_add(taps), self.sums.wrapping_add(2 * taps)];
        unsafe {
            tiles.load::<0>(sums[0].cast(), ROW_BYTES);
            tiles.load::<1>(sums[1].cast(), ROW_BYTES);
            tiles.load::<2>(sums[2].cast(), ROW_BYTES);
            for unit in units {
                for tile in 0..self.tiles {
                    let rows = Rows {
                        y: self.y.wrapping_add(unit.y + tile * TILE_WORDS),
                        x: x.wrapping_add(unit.x + tile * self.pairs * ROW_WORDS),
                        y_row: self.y_row,
                        x_row: self.x_row,
                        rolled: *unit,
                    };
                    rows.multiply(tiles);
                }
            }
            tiles.store::<0>(sums[0], ROW_BYTES);
            tiles.store::<1>(sums[1], ROW_BYTES);
            tiles.store::<2>(sums[2], ROW_BYTES);
        }
    }
}

impl Rows {
    #[inline(always)]
    unsafe fn multiply<T: Tiles>(&self, tiles: &mut T) {
        let end = self.rolled.end;
        let mut row = self.rolled.first;
        unsafe {
            // Two rows of `grad_y` from before the first row of `x`.
            if (1..=self.rolled.rows).contains(&row) {
                tiles.load::<4>(self.y.add((row - 1) * self.y_row), ROW_BYTES);
            }
            if (2..=self.rolled.rows + 1).contains(&row) {
                tiles.load::<3>(self.y.add((row - 2) * self.y_row), ROW_BYTES);
            }
            while row < end {
                self.row::<T, 5, 4, 3, 6>(tiles, row);
                if row + 1 < end {
                    self.row::<T, 3, 5, 4, 7>(tiles, row + 1);
                }
                if row + 2 < end {
                    self.row::<T, 4, 3, 5, 6>(tiles, row + 2);
                }
                row += 3;
            }
        }
    }

    /// One row of `x`: `NEW` is the row of `grad_y` that it is the first to read, `ONE` and `TWO`
    /// are those before.
    #[inline(always)]
    unsafe fn row<
        T: Tiles,
        const NEW: usize,
        const ONE: usize,
        const TWO: usize,
        const X: usize,
    >(
        &self,
        tiles: &mut T,
        row: usize,
    ) {
        let rows = self.rolled.rows;
        unsafe {
            tiles.load::<X>(self.x.add(row * self.x_row), ROW_BYTES);
            if row < rows {
                tiles.load::<NEW>(self.y.add(row * self.y_row), ROW_BYTES);
            }
            if (1..=rows).contains(&row) {
                tiles.multiply::<1, ONE, X>();
            }
            if row >= 2 {
                tiles.multiply::<2, TWO, X>();
            }
            if row < rows {
                tiles.multiply::<0, NEW, X>();
            }
        }
    }
}
