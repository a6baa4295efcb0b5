//! Channels in blocks of 16.

use crate::cpu::LANES;

/// All channels, covered by blocks of 16. The last block overlaps with the one before it instead of
/// reaching past the end; both compute the same values where they overlap. With fewer than 16
/// channels there is one block, of `lanes()` channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChannelBlocks {
    pub channels: usize,
}

impl ChannelBlocks {
    pub(super) fn count(self) -> usize {
        self.channels.div_ceil(LANES)
    }

    /// The first channel of a block.
    #[inline(always)]
    pub(super) fn start(self, block: usize) -> usize {
        (block * LANES).min(self.channels.saturating_sub(LANES))
    }

    /// The channels of each block.
    #[inline(always)]
    pub(super) fn lanes(self) -> usize {
        self.channels.min(LANES)
    }

    /// One vector for each block and each of `many` values of a channel, `[blocks][many][LANES]`,
    /// zero where a lane has no channel.
    pub(super) fn pack(self, many: usize, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let mut packed = vec![0.0; self.count() * many * LANES];
        for (block, packed) in packed.chunks_exact_mut(many.max(1) * LANES).enumerate() {
            for lane in 0..self.lanes() {
                let channel = self.start(block) + lane;
                for (i, vector) in packed.chunks_exact_mut(LANES).enumerate() {
                    vector[lane] = value(channel, i);
                }
            }
        }
        packed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_channels() {
        for channels in 1..70 {
            let blocks = ChannelBlocks { channels };
            let mut next = 0;
            for block in 0..blocks.count() {
                assert!(blocks.start(block) <= next);
                next = blocks.start(block) + blocks.lanes();
            }
            assert_eq!(next, channels);
        }
    }

    #[test]
    fn packed_values_are_the_channels() {
        let packed =
            ChannelBlocks { channels: 17 }.pack(2, |channel, i| (100 * i + channel) as f32);
        assert_eq!(packed.len(), 2 * 2 * LANES);
        assert_eq!((packed[3], packed[LANES + 3]), (3.0, 103.0));
        assert_eq!((packed[2 * LANES], packed[4 * LANES - 1]), (1.0, 116.0));
    }
}
