//! The inner loops: sums of a tile in registers over all taps and channels.

use super::finish::Finish;
use super::{LANES, PIXEL};
use crate::kernels::cpu::simd::{dispatch, sums, Kernel, Number, Simd};

/// The most blocks of output channels of a tile, and its most pixels with one block or two.
pub(super) const BLOCKS: usize = 2;
const PIXELS: [usize; BLOCKS] = [24, 14];
const SUMS: usize = 28;

/// A row of outputs of one or two blocks of channels.
pub(super) struct Row<'a, T> {
    /// Where the first output finds its pixel for segment 0 .. in the scratch.
    pub source: *const u32,
    pub segments: &'a [usize],
    pub words: usize,
    /// The weights of the first block, and from block to block.
    pub weights: *const u32,
    pub block: usize,
    pub finish: Finish<'a, T>,
}

impl<T> Clone for Row<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Row<'_, T> {}

/// How many blocks of output channels this machine's tiles have at most.
pub(super) fn most_blocks() -> usize {
    if sums() < SUMS {
        1
    } else {
        BLOCKS
    }
}

impl<T: Number> Row<'_, T> {
    /// Computes all outputs of the row.
    ///
    /// # Safety
    /// The scratch, the weights and the output hold what the row says.
    pub(super) unsafe fn run(mut self, blocks: usize) {
        let len = self.finish.pixels.len();
        let most = PIXELS[blocks - 1].min(sums() / blocks);
        let pixels = len.div_ceil(len.div_ceil(most));
        let tiles = len / pixels;
        self.tiles(0, tiles, pixels, blocks);
        self.finish.fresh = false;
        let rest = len - tiles * pixels;
        if rest > 0 {
            self.tiles(tiles * pixels, 1, rest, blocks);
        }
    }

    fn tiles(self, first: usize, count: usize, pixels: usize, blocks: usize) {
        macro_rules! run {
            ($blocks:literal: $($pixels:literal)*) => {
                match pixels {
                    $($pixels => dispatch(Tiles::<T, $pixels, $blocks> { row: self, first, count }),)*
                    _ => debug_assert!(false, "a tile of {pixels} pixels"),
                }
            };
        }
        match blocks {
            1 => run!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24),
            _ => run!(2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        }
    }
}

/// `count` tiles of `P` pixels and `C` blocks of channels, from pixel `first` on.
struct Tiles<'a, T, const P: usize, const C: usize> {
    row: Row<'a, T>,
    first: usize,
    count: usize,
}

impl<T: Number, const P: usize, const C: usize> Kernel for Tiles<'_, T, P, C> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // Machines with few registers never ask for large tiles: none is compiled for them.
        if const { P * C <= S::SUMS } {
            let mut buffer = Buffer([0.0; SUMS * LANES]);
            let mut finish = self.row.finish;
            for tile in 0..self.count {
                let at = self.first + tile * P;
                // SAFETY: the caller of `Row::run` vouches for the row.
                unsafe {
                    self.row.multiply::<S, P, C>(simd, at, &mut buffer);
                    finish.tile(simd, at, P, C, &buffer.0);
                }
                finish.fresh = false;
            }
        }
    }
}

/// The sums of a tile, `[block][pixel][lane]`.
#[repr(align(64))]
struct Buffer([f32; SUMS * LANES]);

impl<T: Number> Row<'_, T> {
    #[inline(always)]
    unsafe fn multiply<S: Simd, const P: usize, const C: usize>(
        &self,
        simd: S,
        at: usize,
        buffer: &mut Buffer,
    ) {
        let mut sums = [[simd.zero(); C]; P];
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
                        *sum = T::dot(simd, *sum, pixel, factor);
                    }
                }
                source = unsafe { source.add(1) };
                weights = unsafe { weights.add(LANES) };
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (c, sum) in sums.iter().enumerate() {
                let to = buffer.0[(c * P + p) * LANES..][..LANES].as_mut_ptr();
                unsafe { simd.store_f32(to, *sum) };
            }
        }
    }
}
