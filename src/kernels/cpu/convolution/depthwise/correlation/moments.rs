//! The moments of what the forward has just stored, while it is in the cache.

use super::super::channel_blocks::ChannelBlocks;
use super::super::columns::load_lanes;
use crate::cpu::{dispatch, Kernel, Number, Simd, LANES};
use crate::kernels::cpu::batch_norm::Moments;

/// Adds the moments of some pixels' channels to `moments`.
///
/// Sums are f32 and of differences from the first pixel: that keeps their digits however large the
/// mean is. They are merged into the others in f64.
pub(super) fn add_moments<T: Number>(moments: &mut Moments, channels: usize, pixels: &[T]) {
    debug_assert!(channels > 0 && !pixels.is_empty() && pixels.len().is_multiple_of(channels));
    dispatch(Pass { moments, blocks: ChannelBlocks { channels }, pixels });
}

/// The moments of all tasks in order: each has its count, and its means before its squares.
pub(super) fn merged(
    channels: usize,
    counts: impl Iterator<Item = f64>,
    partial: &[f64],
) -> Moments {
    let mut all = Moments::new(channels);
    for (count, partial) in counts.zip(partial.chunks_exact(2 * channels)) {
        let (mean, squares) = partial.split_at(channels);
        dispatch(Merge { all: &mut all, count, mean, squares });
    }
    all
}

struct Merge<'a> {
    all: &'a mut Moments,
    count: f64,
    mean: &'a [f64],
    squares: &'a [f64],
}

impl Kernel for Merge<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.all.merge(self.count, self.mean, self.squares);
    }
}

struct Pass<'a, T> {
    moments: &'a mut Moments,
    blocks: ChannelBlocks,
    pixels: &'a [T],
}

impl<T: Number> Kernel for Pass<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (blocks, lanes) = (self.blocks, self.blocks.lanes());
        let count = (self.pixels.len() / blocks.channels) as f64;
        let each = 1.0 / count;
        let mut mean = vec![0.0; blocks.channels];
        let mut squares = mean.clone();
        for block in 0..blocks.count() {
            let start = blocks.start(block);
            let [shift, sum, square] = self.sums(simd, start);
            for lane in 0..lanes {
                let offset = sum[lane] as f64 * each;
                mean[start + lane] = shift[lane] as f64 + offset;
                // Rounding can take a lane below zero; a NaN stays one.
                let rest = square[lane] as f64 - sum[lane] as f64 * offset;
                squares[start + lane] = if rest < 0.0 { 0.0 } else { rest };
            }
        }
        self.moments.merge(count, &mean, &squares);
    }
}

impl<T: Number> Pass<'_, T> {
    /// The first pixel of a block, and the sums and squared sums of the differences from it.
    #[inline(always)]
    fn sums<S: Simd>(&self, simd: S, start: usize) -> [[f32; LANES]; 3] {
        let (channels, lanes) = (self.blocks.channels, self.blocks.lanes());
        debug_assert!(start + lanes <= channels);
        let mut result = [[0.0; LANES]; 3];
        // SAFETY: each pixel has `channels` elements, `lanes` of which are from `start` on.
        unsafe {
            let first = load_lanes(simd, self.pixels.as_ptr().add(start), lanes);
            // Four of each, so that no addition waits for the one before it.
            let mut sums = [[simd.zero(); 2]; 4];
            let mut fours = self.pixels.chunks_exact(4 * channels);
            for four in &mut fours {
                let at = four.as_ptr().add(start);
                for (i, sums) in sums.iter_mut().enumerate() {
                    *sums = add(simd, *sums, first, at.add(i * channels), lanes);
                }
            }
            for pixel in fours.remainder().chunks_exact(channels) {
                sums[0] = add(simd, sums[0], first, pixel.as_ptr().add(start), lanes);
            }
            simd.store_f32(result[0].as_mut_ptr(), first);
            for (i, result) in result[1..].iter_mut().enumerate() {
                let halves = (simd.add(sums[0][i], sums[1][i]), simd.add(sums[2][i], sums[3][i]));
                simd.store_f32(result.as_mut_ptr(), simd.add(halves.0, halves.1));
            }
        }
        result
    }
}

/// Adds a pixel to a sum and a squared sum of the differences from `first`.
///
/// # Safety
/// `lanes` elements are there.
#[inline(always)]
unsafe fn add<S: Simd, T: Number>(
    simd: S,
    [sum, square]: [S::F; 2],
    first: S::F,
    from: *const T,
    lanes: usize,
) -> [S::F; 2] {
    let d = simd.sub(unsafe { load_lanes(simd, from, lanes) }, first);
    [simd.add(sum, d), simd.mul_add(d, d, square)]
}
