//! A counter-based random number generator, Philox4x32-10.
//!
//! Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
//! It has no state: any thread, or a CUDA kernel, computes the same words from the same (seed,
//! stream, epoch, index, block).

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The purpose of the numbers; streams are independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Order = 0,
    Augment = 1,
}

/// A generator keyed by a seed.
#[derive(Clone, Copy, Debug)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    pub fn new(seed: u64) -> Self {
        Philox { key: [seed as u32, (seed >> 32) as u32] }
    }

    /// Four random words. `index` is taken modulo 2^32; `block` numbers the draws for one index.
    pub fn words(&self, stream: Stream, epoch: u64, index: usize, block: u16) -> [u32; 4] {
        let tag = (stream as u32) << 16 | u32::from(block);
        permute([tag, index as u32, epoch as u32, (epoch >> 32) as u32], self.key)
    }

    /// A random permutation of `0..len` for this epoch (Fisher-Yates).
    pub fn order(&self, epoch: u64, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        for last in (1..len).rev() {
            let [low, high, ..] = self.words(Stream::Order, epoch, last, 0);
            let word = u64::from(high) << 32 | u64::from(low);
            let other = (u128::from(word) * (last as u128 + 1)) >> 64;
            order.swap(last, other as usize);
        }
        order
    }
}

/// Maps a word to `0..bound`; the bias is less than bound / 2^32.
pub fn below(word: u32, bound: usize) -> usize {
    ((u64::from(word) * bound as u64) >> 32) as usize
}

fn permute(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let first = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let second = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors published with Random123.
    #[test]
    fn agrees_with_the_published_vectors() {
        let ones = u32::MAX;
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([ones; 4], [ones; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(permute(counter, key), expected);
        }
    }

    #[test]
    fn every_argument_matters() {
        let words = |seed, stream, epoch, index, block| {
            Philox::new(seed).words(stream, epoch, index, block)
        };
        let all = [
            words(0, Stream::Order, 0, 0, 0),
            words(1, Stream::Order, 0, 0, 0),
            words(1 << 32, Stream::Order, 0, 0, 0),
            words(0, Stream::Augment, 0, 0, 0),
            words(0, Stream::Order, 1, 0, 0),
            words(0, Stream::Order, 1 << 32, 0, 0),
            words(0, Stream::Order, 0, 1, 0),
            words(0, Stream::Order, 0, 0, 1),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b), "case {i} repeats another");
        }
    }

    #[test]
    fn an_order_holds_every_index_once_and_changes_with_the_epoch() {
        for len in [0, 1, 2, 257] {
            let mut order = Philox::new(3).order(5, len);
            order.sort_unstable();
            assert_eq!(order, (0..len).collect::<Vec<_>>());
        }
        assert_ne!(Philox::new(3).order(0, 50), Philox::new(3).order(1, 50));
        assert_eq!(Philox::new(3).order(1, 50), Philox::new(3).order(1, 50));
    }

    #[test]
    fn an_order_puts_every_image_everywhere_equally_often() {
        let (len, epochs) = (5, 10_000);
        let mut counts = [[0_i32; 5]; 5];
        for epoch in 0..epochs {
            for (position, image) in Philox::new(11).order(epoch, len).into_iter().enumerate() {
                counts[position][image] += 1;
            }
        }
        // 2,000 expected, standard deviation 40.
        assert!(counts.iter().flatten().all(|count| (count - 2_000).abs() < 200), "{counts:?}");
    }
}
