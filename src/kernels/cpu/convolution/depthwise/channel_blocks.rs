//! Channels by sixteens.

use crate::cpu::LANES;

/// All channels, covered by windows of sixteen. The last window reaches back into the one before
/// it rather than past the end: what two windows both make is the same. With fewer channels than
/// lanes there is one window, of `lanes()`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChannelBlocks {
    pub channels: usize,
}

impl ChannelBlocks {
    pub(super) fn count(self) -> usize {
        self.channels.div_ceil(LANES)
    }

    /// The first channel of a window.
    #[inline(always)]
    pub(super) fn start(self, window: usize) -> usize {
        (window * LANES).min(self.channels.saturating_sub(LANES))
    }

    /// The channels in each window.
    #[inline(always)]
    pub(super) fn lanes(self) -> usize {
        self.channels.min(LANES)
    }

    /// One vector for each window and each of `many` values of a channel, zero where a lane has no
    /// channel: `[windows][many][LANES]`.
    pub(super) fn pack(self, many: usize, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let mut packed = vec![0.0; self.count() * many * LANES];
        for (window, packed) in packed.chunks_exact_mut(many.max(1) * LANES).enumerate() {
            for lane in 0..self.lanes() {
                let channel = self.start(window) + lane;
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
    fn windows_cover_all_channels() {
        for channels in 1..70 {
            let windows = ChannelBlocks { channels };
            let mut next = 0;
            for window in 0..windows.count() {
                assert!(windows.start(window) <= next);
                next = windows.start(window) + windows.lanes();
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
