//! Writes rows of the master weight into a packed weight.

use half::bf16;

use super::words::Words;
use crate::cpu::{Kernel, Number, Simd, LANES};
use crate::kernels::cpu::convolution::Operand;

/// Rows of the master weight, which are output channels of the convolution.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// The first row, a multiple of 16.
    pub first: usize,
    /// Elements of a row, `[tap][channels]`.
    pub row: usize,
    pub channels: usize,
    pub values: &'a [f32],
}

impl<'a> Rows<'a> {
    /// The channels of row `i` for one tap of the kernel.
    #[inline(always)]
    fn tap(&self, i: usize, tap: usize) -> &'a [f32] {
        let start = i * self.row + tap * self.channels;
        &self.values[start..start + self.channels]
    }
}

/// The place of a tap of the kernel in a block of the packed weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Index of the tap in the kernel.
    pub tap: usize,
    /// The vector at which its first plane starts.
    pub vector: usize,
    /// Vectors from plane to plane.
    pub plane: usize,
}

pub(super) struct Pack<'a, M> {
    pub rows: Rows<'a>,
    pub operand: Operand,
    pub order: &'a [Place],
    pub words: Words,
    /// The packed weight, which has room for the rows.
    pub to: *mut u32,
    pub element: std::marker::PhantomData<M>,
}

impl<M: Number> Kernel for Pack<'_, M> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let count = self.rows.values.len() / self.rows.row;
        for &place in self.order {
            match self.operand {
                Operand::Forward => {
                    for i in (0..count).step_by(LANES) {
                        self.lanes(simd, place, i, LANES.min(count - i));
                    }
                }
                Operand::GradInput => {
                    for i in (0..count).step_by(M::PER_WORD) {
                        self.contracted(simd, place, i, M::PER_WORD.min(count - i));
                    }
                }
            }
        }
    }
}

impl<M: Number> Pack<'_, M> {
    /// The vector of a block of output channels that holds word `word` of a tap.
    #[inline(always)]
    fn vector(&self, block: usize, place: Place, word: usize) -> *mut u32 {
        let Words { planes, words } = self.words;
        let vector = place.vector + word / words * place.plane + word % words;
        // SAFETY: block, tap and word are those of the packed weight.
        unsafe { self.to.add((block * self.order.len() * planes * words + vector) * LANES) }
    }

    /// Packs `count` rows from row `i` on as lanes of one block; words hold adjacent channels.
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, place: Place, i: usize, count: usize) {
        let block = (self.rows.first + i) / LANES;
        for first in (0..self.rows.channels).step_by(LANES) {
            let channels = LANES.min(self.rows.channels - first);
            let mut words = [[0u32; LANES]; LANES];
            for (lane, words) in words.iter_mut().enumerate().take(count) {
                let values = &self.rows.tap(i + lane, place.tap)[first..first + channels];
                // SAFETY: 16 words have room for 16 elements.
                unsafe {
                    let values = simd.load_first_f32(values.as_ptr(), channels);
                    M::store(simd, words.as_mut_ptr().cast(), values);
                }
            }
            for word in 0..channels.div_ceil(M::PER_WORD) {
                let vector = self.vector(block, place, first / M::PER_WORD + word);
                for (lane, words) in words.iter().enumerate().take(count) {
                    // SAFETY: within the vector.
                    unsafe { *vector.add(lane) = words[word] };
                }
            }
        }
    }

    /// Packs row `i`, and the next one if `count` is 2, as the halves of words; lanes are channels.
    #[inline(always)]
    fn contracted<S: Simd>(&self, simd: S, place: Place, i: usize, count: usize) {
        let word = (self.rows.first + i) / M::PER_WORD;
        for first in (0..self.rows.channels).step_by(LANES) {
            let channels = LANES.min(self.rows.channels - first);
            let mut halves = [[bf16::ZERO; LANES]; 2];
            // SAFETY: a whole vector; loads stay within the row.
            unsafe {
                let to = self.vector(first / LANES, place, word);
                let row = |half: usize| {
                    let values = &self.rows.tap(i + half, place.tap)[first..first + channels];
                    simd.load_first_f32(values.as_ptr(), channels)
                };
                if M::PER_WORD == 1 {
                    simd.store_f32(to.cast(), row(0));
                    continue;
                }
                for (half, halves) in halves.iter_mut().enumerate().take(count) {
                    simd.store_bf16(halves.as_mut_ptr(), row(half));
                }
                simd.store_words(to, simd.interleave(halves[0].as_ptr(), halves[1].as_ptr()));
            }
        }
    }
}
