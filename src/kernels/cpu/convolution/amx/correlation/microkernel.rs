//! The inner loops: sums of up to four tiles, over all taps and source channels.

use super::ahead::Ahead;
use crate::cpu::{Simd, Tiles, ROW_BYTES, TILE_WORDS};

/// The products of a strip for some blocks of output channels.
#[derive(Clone, Copy)]
pub(super) struct Products<'a> {
    pub pixels: *const u32,
    /// Bytes from pixel to pixel, a multiple of 64.
    pub stride: usize,
    /// For each step, the word that the first output reads.
    pub steps: &'a [usize],
    /// The weights of the first block.
    pub weights: *const u32,
    /// Words of the weight from block to block.
    pub block: usize,
}

impl Products<'_> {
    /// The sums of one or two tiles of outputs, whose pixels start `at` words after those of the
    /// first output, and one or two blocks: `[tile][block][output][16]`, each with room for 16
    /// outputs.
    ///
    /// # Safety
    /// The pixels and the weights are what the fields describe; there is room for the sums.
    #[inline(always)]
    pub(super) unsafe fn square<S: Simd, T: Tiles, const TILES: usize, const BLOCKS: usize>(
        &self,
        tiles: &mut T,
        at: [usize; TILES],
        sums: *mut f32,
        ahead: &mut Ahead<S>,
    ) {
        let mut weights = self.weights;
        tiles.zero::<0>();
        if BLOCKS == 2 {
            tiles.zero::<1>();
        }
        if TILES == 2 {
            tiles.zero::<2>();
        }
        if TILES == 2 && BLOCKS == 2 {
            tiles.zero::<3>();
        }
        unsafe {
            for &step in self.steps {
                let pixels = self.pixels.add(step);
                tiles.load::<4>(pixels.add(at[0]), self.stride);
                tiles.load::<6>(weights, ROW_BYTES);
                if BLOCKS == 2 {
                    tiles.load::<7>(weights.add(self.block), ROW_BYTES);
                }
                tiles.multiply::<0, 4, 6>();
                if TILES == 2 {
                    tiles.load::<5>(pixels.add(at[TILES - 1]), self.stride);
                }
                if BLOCKS == 2 {
                    tiles.multiply::<1, 4, 7>();
                }
                if TILES == 2 {
                    tiles.multiply::<2, 5, 6>();
                }
                if TILES == 2 && BLOCKS == 2 {
                    tiles.multiply::<3, 5, 7>();
                }
                weights = weights.add(TILE_WORDS);
                ahead.step();
            }
            tiles.store::<0>(sums, ROW_BYTES);
            if BLOCKS == 2 {
                tiles.store::<1>(sums.add(TILE_WORDS), ROW_BYTES);
            }
            if TILES == 2 {
                tiles.store::<2>(sums.add(BLOCKS * TILE_WORDS), ROW_BYTES);
            }
            if TILES == 2 && BLOCKS == 2 {
                tiles.store::<3>(sums.add(3 * TILE_WORDS), ROW_BYTES);
            }
        }
    }

    /// The sums of four tiles and one block: `[tile][output][16]`.
    ///
    /// # Safety
    /// As for `square`.
    #[inline(always)]
    pub(super) unsafe fn row<S: Simd, T: Tiles>(
        &self,
        tiles: &mut T,
        at: [usize; 4],
        sums: *mut f32,
        ahead: &mut Ahead<S>,
    ) {
        let mut weights = self.weights;
        tiles.zero::<0>();
        tiles.zero::<1>();
        tiles.zero::<2>();
        tiles.zero::<3>();
        unsafe {
            for &step in self.steps {
                let pixels = self.pixels.add(step);
                tiles.load::<6>(weights, ROW_BYTES);
                tiles.load::<4>(pixels.add(at[0]), self.stride);
                tiles.multiply::<0, 4, 6>();
                tiles.load::<5>(pixels.add(at[1]), self.stride);
                tiles.multiply::<1, 5, 6>();
                tiles.load::<4>(pixels.add(at[2]), self.stride);
                tiles.multiply::<2, 4, 6>();
                tiles.load::<5>(pixels.add(at[3]), self.stride);
                tiles.multiply::<3, 5, 6>();
                weights = weights.add(TILE_WORDS);
                ahead.step();
            }
            tiles.store::<0>(sums, ROW_BYTES);
            tiles.store::<1>(sums.add(TILE_WORDS), ROW_BYTES);
            tiles.store::<2>(sums.add(2 * TILE_WORDS), ROW_BYTES);
            tiles.store::<3>(sums.add(3 * TILE_WORDS), ROW_BYTES);
        }
    }
}
