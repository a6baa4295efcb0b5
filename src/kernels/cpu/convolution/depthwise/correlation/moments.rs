//! The moments of outputs that have just been stored, while they are in the cache.

use super::super::channel_blocks::ChannelBlocks;
use super::super::columns::load_lanes;
use crate::cpu::{dispatch, Kernel, Number, Simd, LANES};
use crate::kernels::cpu::moments::{add_shifted, Moments, VectorMoments};

/// Merges the moments of some pixels' channels into `moments`. The shift is the first pixel.
pub(super) fn add_moments<T: Number>(moments: &mut Moments, channels: usize, pixels: &[T]) {
    debug_assert!(channels > 0 && !pixels.is_empty() && pixels.len().is_multiple_of(channels));
    dispatch(Pass { moments, blocks: ChannelBlocks { channels }, pixels });
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
        let mut mean = vec![0.0; blocks.channels];
        let mut squares = mean.clone();
        for block in 0..blocks.count() {
            let start = blocks.start(block);
            let [shift, sum, square] = self.sums(simd, start);
            let moments = VectorMoments::from_sums(count, &shift, &sum, &square);
            mean[start..start + lanes].copy_from_slice(&moments.mean[..lanes]);
            squares[start..start + lanes].copy_from_slice(&moments.squares[..lanes]);
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
                    let value = load_lanes(simd, at.add(i * channels), lanes);
                    *sums = add_shifted::<S, true>(simd, *sums, first, value);
                }
            }
            for pixel in fours.remainder().chunks_exact(channels) {
                let value = load_lanes(simd, pixel.as_ptr().add(start), lanes);
                sums[0] = add_shifted::<S, true>(simd, sums[0], first, value);
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
