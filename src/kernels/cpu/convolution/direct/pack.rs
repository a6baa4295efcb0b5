//! Writing rows of the master into a packed weight.

use super::layout::Words;
use super::LANES;
use crate::kernels::cpu::convolution::Operand;
use crate::kernels::cpu::simd::{Kernel, Number, Simd};

/// Rows of the master: output channels of the convolution.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
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

pub(super) struct Pack<'a, T> {
    pub rows: Rows<'a>,
    pub operand: Operand,
    pub order: &'a [usize],
    pub words: Words,
    /// The packed weight: long enough for the rows.
    pub to: *mut T,
}

impl<T: Number> Kernel for Pack<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let count = self.rows.values.len() / self.rows.row;
        for (tap, &place) in self.order.iter().enumerate() {
            match self.operand {
                Operand::Forward => (0..count).for_each(|i| self.lane(tap, place, i)),
                Operand::GradInput => self.contracted(tap, place, count),
            }
        }
    }
}

impl<T: Number> Pack<'_, T> {
    /// The first element of a tap in a block of output channels.
    #[inline(always)]
    fn start(&self, block: usize, tap: usize) -> *mut T {
        let lines = self.words.planes * self.words.words;
        let at = (block * self.order.len() + tap) * lines * LANES * T::PER_WORD;
        // SAFETY: block and tap are those of the packed weight.
        unsafe { self.to.add(at) }
    }

    /// Row `i` is a lane; its channels run over the words.
    #[inline(always)]
    fn lane(&self, tap: usize, place: usize, i: usize) {
        let channel = self.rows.first + i;
        // SAFETY: within the block: a lane of its own.
        let start = unsafe { self.start(channel / LANES, tap).add(channel % LANES * T::PER_WORD) };
        for (word, values) in self.rows.tap(i, place).chunks(T::PER_WORD).enumerate() {
            for (half, &value) in values.iter().enumerate() {
                // SAFETY: the tap has a line for each word of the channels.
                unsafe { *start.add(word * LANES * T::PER_WORD + half) = T::from_f32(value) };
            }
        }
    }

    /// The rows run over the words; their channels are the lanes.
    #[inline(always)]
    fn contracted(&self, tap: usize, place: usize, count: usize) {
        for i in 0..count {
            let channel = self.rows.first + i;
            let (word, half) = (channel / T::PER_WORD, channel % T::PER_WORD);
            for (block, values) in self.rows.tap(i, place).chunks(LANES).enumerate() {
                let line = word * LANES * T::PER_WORD + half;
                // SAFETY: the tap has a line for each word of the rows.
                let line = unsafe { self.start(block, tap).add(line) };
                for (lane, &value) in values.iter().enumerate() {
                    // SAFETY: within the line.
                    unsafe { *line.add(lane * T::PER_WORD) = T::from_f32(value) };
                }
            }
        }
    }
}
