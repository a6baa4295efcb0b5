//! The inner loops: products of up to four tiles of sums, over the rows of a strip.

use crate::cpu::{Tiles, ROW_BYTES, ROW_WORDS, TILE_WORDS};

/// Rows of a unit that are multiplied for one row of taps: those for which it lies in the image.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// Words to the first row, of packed `grad_y` and of packed `x`.
    pub y: usize,
    pub x: usize,
    pub rows: usize,
}

/// Some tiles of output channels by some streams of `x`, which are tiles of input channels under
/// runs of taps.
#[derive(Clone, Copy)]
pub(super) struct Products<'a> {
    /// The first tile of output channels, and words to the next one.
    pub y: *const u32,
    pub y_tile: usize,
    /// The rows of each unit.
    pub spans: &'a [Span],
    /// Words from row to row.
    pub y_row: usize,
    pub x_row: usize,
    /// Tiles of a row, and pairs of each.
    pub tiles: usize,
    pub pairs: usize,
    /// The sums of the first tile and stream, and words to those of the next tile of output
    /// channels. Those of the next stream follow.
    pub sums: *mut f32,
    pub sums_tile: usize,
}

/// Runs `$product` for each tile of packed `grad_y`, at `$y`, and the words `$x` to the same pairs of
/// packed `x`. A closure might not be inlined.
macro_rules! each_tile {
    ($products:expr, |$y:ident, $x:pat_param| $product:block) => {
        for span in $products.spans {
            for row in 0..span.rows {
                let y = $products.y.wrapping_add(span.y + row * $products.y_row);
                let x = span.x + row * $products.x_row;
                for tile in 0..$products.tiles {
                    let $y = y.wrapping_add(tile * TILE_WORDS);
                    let $x = x + tile * $products.pairs * ROW_WORDS;
                    $product
                }
            }
        }
    };
}

impl Products<'_> {
    /// Adds to the sums of two tiles of output channels and one or two streams, whose number is
    /// returned.
    ///
    /// # Safety
    /// The packed strips and the sums have what the fields describe.
    #[inline(always)]
    pub(super) unsafe fn square<T: Tiles, const STREAMS: usize>(
        &self,
        tiles: &mut T,
        x: [*const u32; STREAMS],
    ) -> usize {
        let [first, second] = [self.sums, self.sums.wrapping_add(self.sums_tile)];
        unsafe {
            tiles.load::<0>(first.cast(), ROW_BYTES);
            tiles.load::<2>(second.cast(), ROW_BYTES);
            if STREAMS == 2 {
                tiles.load::<1>(first.add(TILE_WORDS).cast(), ROW_BYTES);
                tiles.load::<3>(second.add(TILE_WORDS).cast(), ROW_BYTES);
            }
            each_tile!(self, |y, at| {
                tiles.load::<4>(y, ROW_BYTES);
                tiles.load::<6>(x[0].wrapping_add(at), ROW_BYTES);
                tiles.multiply::<0, 4, 6>();
                if STREAMS == 2 {
                    tiles.load::<7>(x[STREAMS - 1].wrapping_add(at), ROW_BYTES);
                    tiles.multiply::<1, 4, 7>();
                }
                tiles.load::<5>(y.wrapping_add(self.y_tile), ROW_BYTES);
                tiles.multiply::<2, 5, 6>();
                if STREAMS == 2 {
                    tiles.multiply::<3, 5, 7>();
                }
            });
            tiles.store::<0>(first, ROW_BYTES);
            tiles.store::<2>(second, ROW_BYTES);
            if STREAMS == 2 {
                tiles.store::<1>(first.add(TILE_WORDS), ROW_BYTES);
                tiles.store::<3>(second.add(TILE_WORDS), ROW_BYTES);
            }
        }
        STREAMS
    }

    /// Adds to the sums of one tile of output channels and up to four streams, whose number is
    /// returned.
    ///
    /// # Safety
    /// As for `square`.
    #[inline(always)]
    pub(super) unsafe fn row<T: Tiles, const STREAMS: usize>(
        &self,
        tiles: &mut T,
        x: [*const u32; STREAMS],
    ) -> usize {
        let sums = |stream: usize| self.sums.wrapping_add(stream * TILE_WORDS);
        unsafe {
            tiles.load::<0>(sums(0).cast(), ROW_BYTES);
            if STREAMS > 1 {
                tiles.load::<1>(sums(1).cast(), ROW_BYTES);
            }
            if STREAMS > 2 {
                tiles.load::<2>(sums(2).cast(), ROW_BYTES);
            }
            if STREAMS > 3 {
                tiles.load::<3>(sums(3).cast(), ROW_BYTES);
            }
            let stream = |i: usize| x[i % STREAMS];
            each_tile!(self, |y, at| {
                tiles.load::<4>(y, ROW_BYTES);
                tiles.load::<6>(stream(0).wrapping_add(at), ROW_BYTES);
                tiles.multiply::<0, 4, 6>();
                if STREAMS > 1 {
                    tiles.load::<7>(stream(1).wrapping_add(at), ROW_BYTES);
                    tiles.multiply::<1, 4, 7>();
                }
                if STREAMS > 2 {
                    tiles.load::<6>(stream(2).wrapping_add(at), ROW_BYTES);
                    tiles.multiply::<2, 4, 6>();
                }
                if STREAMS > 3 {
                    tiles.load::<7>(stream(3).wrapping_add(at), ROW_BYTES);
                    tiles.multiply::<3, 4, 7>();
                }
            });
            tiles.store::<0>(sums(0), ROW_BYTES);
            if STREAMS > 1 {
                tiles.store::<1>(sums(1), ROW_BYTES);
            }
            if STREAMS > 2 {
                tiles.store::<2>(sums(2), ROW_BYTES);
            }
            if STREAMS > 3 {
                tiles.store::<3>(sums(3), ROW_BYTES);
            }
        }
        STREAMS
    }

    /// Adds the sums over pixels of one tile of output channels: the products with `ones`, a tile
    /// of which all columns are alike.
    ///
    /// # Safety
    /// As for `square`.
    #[inline(always)]
    pub(super) unsafe fn bias<T: Tiles>(&self, tiles: &mut T, ones: *const u32) {
        unsafe {
            tiles.load::<0>(self.sums.cast(), ROW_BYTES);
            tiles.load::<6>(ones, ROW_BYTES);
            each_tile!(self, |y, _| {
                tiles.load::<4>(y, ROW_BYTES);
                tiles.multiply::<0, 4, 6>();
            });
            tiles.store::<0>(self.sums, ROW_BYTES);
        }
    }
}
