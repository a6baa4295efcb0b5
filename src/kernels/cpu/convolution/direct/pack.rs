//! Writing rows of the master into a packed weight.

use half::bf16;

use super::words::Words;
use crate::cpu::{Kernel, Number, Simd, LANES};
use crate::kernels::cpu::convolution::Operand;

/// Rows of the master: output channels of the convolution.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// A multiple of sixteen.
    pub first: usize,
    /// Elements of a row, `[tap][channels]`.
    pub row: usize,
    pub channels: usize,
    pub values: &'a [f32],
}

impl<'a> Rows<'a> {
    /// What row `i` has for one place of the kernel.
    #[inline(always)]
    fn tap(&self, i: usize, place: usize) -> &'a [f32] {
        let start = i * self.row + place * self.channels;
        &self.values[start..start + self.channels]
    }
}

/// Where a tap of the kernel goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its number in the kernel.
    pub tap: usize,
    /// The line of a block at which its first plane starts, and from plane to plane.
    pub line: usize,
    pub plane: usize,
}

pub(super) struct Pack<'a, T> {
    pub rows: Rows<'a>,
    pub operand: Operand,
    pub order: &'a [Place],
    pub words: Words,
    /// The packed weight: long enough for the rows.
    pub to: *mut u32,
    pub element: std::marker::PhantomData<T>,
}

impl<T: Number> Kernel for Pack<'_, T> {
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
                    for i in (0..count).step_by(T::PER_WORD) {
                        self.contracted(simd, place, i, T::PER_WORD.min(count - i));
                    }
                }
            }
        }
    }
}

impl<T: Number> Pack<'_, T> {
    /// The vector of a block of output channels that holds a tap's word of all channels.
    #[inline(always)]
    fn line(&self, block: usize, place: Place, word: usize) -> *mut u32 {
        let Words { planes, words } = self.words;
        let line = place.line + word / words * place.plane + word % words;
        // SAFETY: block, tap and word are those of the packed weight.
        unsafe { self.to.add((block * self.order.len() * planes * words + line) * LANES) }
    }

    /// `count` rows from row `i` on are lanes of one block; their channels run over the words.
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, place: Place, i: usize, count: usize) {
        let block = (self.rows.first + i) / LANES;
        for first in (0..self.rows.channels).step_by(LANES) {
            let channels = LANES.min(self.rows.channels - first);
            let mut words = [[0u32; LANES]; LANES];
            for (lane, words) in words.iter_mut().enumerate().take(count) {
                let values = &self.rows.tap(i + lane, place.tap)[first..first + channels];
                // SAFETY: sixteen words have room for sixteen elements.
                unsafe {
                    let values = simd.load_first_f32(values.as_ptr(), channels);
                    T::store(simd, words.as_mut_ptr().cast(), values);
                }
            }
            for word in 0..channels.div_ceil(T::PER_WORD) {
                let line = self.line(block, place, first / T::PER_WORD + word);
                for (lane, words) in words.iter().enumerate().take(count) {
                    // SAFETY: within the vector.
                    unsafe { *line.add(lane) = words[word] };
                }
            }
        }
    }

    /// Row `i`, and the next where `count` is two, make a word; their channels are the lanes.
    #[inline(always)]
    fn contracted<S: Simd>(&self, simd: S, place: Place, i: usize, count: usize) {
        let word = (self.rows.first + i) / T::PER_WORD;
        for first in (0..self.rows.channels).step_by(LANES) {
            let channels = LANES.min(self.rows.channels - first);
            let mut halves = [[bf16::ZERO; LANES]; 2];
            // SAFETY: a whole vector; loads stay within the row.
            unsafe {
                let to = self.line(first / LANES, place, word);
                let row = |half: usize| {
                    let values = &self.rows.tap(i + half, place.tap)[first..first + channels];
                    simd.load_first_f32(values.as_ptr(), channels)
                };
                if T::PER_WORD == 1 {
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
