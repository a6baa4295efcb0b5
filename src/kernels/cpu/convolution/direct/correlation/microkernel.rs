//! The inner loops: accumulators of a tile, in registers over all taps and source channels.

use std::marker::PhantomData;

use super::super::words::PIXEL;
use super::accumulators::{Sums, SUMS};
use crate::cpu::{dispatch, sums, Kernel, Number, Simd, LANES};
use crate::kernels::cpu::convolution::epilogue::Epilogue;

/// The most blocks of output channels in a tile and, with one block or two, the most pixels.
const BLOCKS: usize = 2;
const PIXELS: [usize; BLOCKS] = [16, 14];

/// Taps of a run, and the smallest number of pixels of a tile that is computed run by run.
const RUN: usize = 3;
const RUN_PIXELS: usize = 9;

/// Rows of outputs of a strip, of one block of channels or two.
pub(super) struct Rows<'a, T, M> {
    /// The scratch. The first output reads its pixel at an offset for each plane and tap.
    pub source: *const u32,
    pub segments: &'a [usize],
    /// Words of the scratch from row to row.
    pub source_row: usize,
    /// Every three taps read neighboring pixels.
    pub runs: bool,
    /// Words of a pixel, in each plane.
    pub words: usize,
    /// The weights of the first block.
    pub weights: *const u32,
    /// Words of the weight from block to block.
    pub block: usize,
    pub rows: usize,
    pub epilogue: Epilogue<'a, T>,
    pub products: PhantomData<M>,
}

impl<T, M> Clone for Rows<'_, T, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, M> Copy for Rows<'_, T, M> {}

/// The most blocks of output channels that the tiles of this machine have.
pub(super) fn most_blocks() -> usize {
    if sums() < SUMS {
        1
    } else {
        BLOCKS
    }
}

/// Pixels of a tile if a row of `len` is divided evenly, on a machine with enough registers.
pub(super) fn tile_pixels(len: usize, blocks: usize) -> usize {
    len.div_ceil(len.div_ceil(PIXELS[blocks - 1]))
}

impl<T: Number, M: Number> Rows<'_, T, M> {
    /// Computes all outputs of the rows.
    ///
    /// # Safety
    /// The scratch, the weights and the output have the places that the fields describe.
    pub(super) unsafe fn run(mut self, blocks: usize) {
        let len = self.epilogue.pixels.len();
        let pixels = tile_pixels(len, blocks).min(sums() / blocks);
        let tiles = len.div_ceil(pixels);
        let pixels = len.div_ceil(tiles);
        // Two blocks use each pixel twice, which makes its load cheap enough without runs.
        self.runs &= blocks == 1 && pixels >= RUN_PIXELS;
        // As many tiles as necessary have one pixel less, so that they end at `len`.
        let large = len - tiles * (pixels - 1);
        self.tiles([large, tiles - large], pixels, blocks);
    }

    fn tiles(self, counts: [usize; 2], pixels: usize, blocks: usize) {
        macro_rules! run {
            ($blocks:literal $runs:literal: $($pixels:literal)*) => {
                match pixels {
                    $($pixels => dispatch(Tiles::<T, M, $pixels, { $pixels - 1 }, $blocks, $runs> {
                        rows: self,
                        counts,
                    }),)*
                    _ => debug_assert!(false, "a tile of {pixels} pixels"),
                }
            };
        }
        match (blocks, self.runs) {
            (1, true) => run!(1 true: 9 10 11 12 13 14 15 16),
            (1, false) => run!(1 false: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
            _ => run!(2 false: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        }
    }
}

/// Each row in tiles of `C` blocks of channels: `counts[0]` of `P` pixels, then `counts[1]` of
/// `Q`, one less.
struct Tiles<'a, T, M, const P: usize, const Q: usize, const C: usize, const RUNS: bool> {
    rows: Rows<'a, T, M>,
    counts: [usize; 2],
}

impl<T: Number, M: Number, const P: usize, const Q: usize, const C: usize, const RUNS: bool> Kernel
    for Tiles<'_, T, M, P, Q, C, RUNS>
{
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // Large tiles are not used on machines with few registers, and not compiled for them.
        if const { P * C <= S::SUMS } {
            let Tiles { mut rows, counts: [large, small] } = self;
            let mut sums = Sums::uninit();
            for _ in 0..rows.rows {
                let mut at = 0;
                for tile in 0..large + small {
                    // SAFETY: the caller of `Rows::run` has promised that the places exist.
                    unsafe {
                        let pixels = if tile < large {
                            rows.multiply::<S, P, C, RUNS>(simd, at, &mut sums);
                            P
                        } else {
                            rows.multiply::<S, Q, C, RUNS>(simd, at, &mut sums);
                            Q
                        };
                        rows.epilogue.tile(simd, at, pixels, C, sums.at(0), pixels * LANES);
                        at += pixels;
                    }
                }
                rows.next();
            }
        }
    }
}

impl<T: Number, M: Number> Rows<'_, T, M> {
    #[inline(always)]
    fn next(&mut self) {
        // After the last row the pointer may lie outside the scratch; it is not used then.
        self.source = self.source.wrapping_add(self.source_row);
        self.epilogue.next_row();
    }

    /// The sums of the tile at pixel `at`. They are handed on in memory, because the epilogue is a
    /// loop over any number of pixels, which the compiler does not unroll.
    #[inline(always)]
    unsafe fn multiply<S: Simd, const P: usize, const C: usize, const RUNS: bool>(
        &self,
        simd: S,
        at: usize,
        result: &mut Sums,
    ) {
        let mut sums = [[simd.zero(); C]; P];
        unsafe {
            match RUNS {
                true => self.add_runs(simd, at, &mut sums),
                false => self.add_taps(simd, at, &mut sums),
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (c, sum) in sums.iter().enumerate() {
                unsafe { simd.store_f32(result.at_mut(c * P + p), *sum) };
            }
        }
    }

    /// Tap by tap: each pixel is multiplied by `C` vectors of the weight.
    #[inline(always)]
    unsafe fn add_taps<S: Simd, const P: usize, const C: usize>(
        &self,
        simd: S,
        at: usize,
        sums: &mut [[S::F; C]; P],
    ) {
        let mut weights = self.weights;
        for &segment in self.segments {
            let mut source = unsafe { self.source.add(segment + at * PIXEL) };
            for _ in 0..self.words {
                let mut factors = [unsafe { simd.load_words(weights) }; C];
                for (c, factor) in factors.iter_mut().enumerate().skip(1) {
                    *factor = unsafe { simd.load_words(weights.add(c * self.block)) };
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let pixel = unsafe { simd.broadcast_word(source.add(p * PIXEL)) };
                    for (sum, factor) in sums.iter_mut().zip(factors) {
                        *sum = M::dot(simd, *sum, pixel, factor);
                    }
                }
                source = unsafe { source.add(1) };
                weights = unsafe { weights.add(LANES) };
            }
        }
    }

    /// Run by run, for one block of channels: what one tap reads for a pixel, the next tap reads
    /// for the pixel before it, so three taps share the loads of a pixel.
    #[inline(always)]
    unsafe fn add_runs<S: Simd, const P: usize, const C: usize>(
        &self,
        simd: S,
        at: usize,
        sums: &mut [[S::F; C]; P],
    ) {
        let tap = self.words * LANES;
        let mut weights = self.weights;
        for &segment in self.segments.iter().step_by(RUN) {
            let mut source = unsafe { self.source.add(segment + at * PIXEL) };
            for _ in 0..self.words {
                let factor = |i: usize| unsafe { simd.load_words(weights.add(i * tap)) };
                let factors = [factor(0), factor(1), factor(2)];
                let pixel = |p: usize| unsafe { simd.broadcast_word(source.add(p * PIXEL)) };
                let add = |p: usize, sums: &mut [S::F; C]| {
                    sums[0] = M::dot(simd, sums[0], pixel(p), factors[0]);
                    sums[0] = M::dot(simd, sums[0], pixel(p + 1), factors[1]);
                    sums[0] = M::dot(simd, sums[0], pixel(p + 2), factors[2]);
                };
                // Two loops, each short enough to be unrolled: otherwise the sums would be in
                // memory.
                let (first, second) = sums.split_at_mut(P / 2);
                first.iter_mut().enumerate().for_each(|(p, sums)| add(p, sums));
                second.iter_mut().enumerate().for_each(|(p, sums)| add(P / 2 + p, sums));
                source = unsafe { source.add(1) };
                weights = unsafe { weights.add(LANES) };
            }
            weights = unsafe { weights.add((RUN - 1) * tap) };
        }
    }
}
