//! Transforms rows of the master weight and writes them into a packed weight.

use std::marker::PhantomData;

use super::rows::words;
use super::{transform, POSITIONS};
use crate::cpu::{Kernel, Number, Simd, LANES};
use crate::kernels::cpu::convolution::Operand;

/// Packs up to 16 output channels.
pub(super) struct Pack<'a, M> {
    /// Input and output channels.
    pub channels: [usize; 2],
    pub operand: Operand,
    /// A multiple of 16.
    pub first: usize,
    pub rows: &'a [f32],
    pub scale: Option<&'a [f32]>,
    /// The packed weight.
    pub to: *mut u32,
    pub number: PhantomData<M>,
}

/// 16 output channels by 16 input channels at each position.
#[repr(C, align(64))]
struct Block<M>([[[M; LANES]; LANES]; POSITIONS]);

impl<M: Number> Kernel for Pack<'_, M> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut block = Block([[[M::from_f32(0.0); LANES]; LANES]; POSITIONS]);
        let groups = self.channels[0].div_ceil(LANES);
        for group in 0..groups {
            for (row, weights) in self.rows.chunks_exact(9 * self.channels[0]).enumerate() {
                self.transform(simd, weights, row, group, &mut block);
            }
            match self.operand {
                Operand::Forward => self.store_forward(simd, group, &block),
                Operand::GradInput => self.store_grad_input(simd, group, &block),
            }
        }
    }
}

impl<M: Number> Pack<'_, M> {
    /// Transforms the kernels of 16 input channels.
    #[inline(always)]
    fn transform<S: Simd>(
        &self,
        simd: S,
        weights: &[f32],
        row: usize,
        group: usize,
        block: &mut Block<M>,
    ) {
        let in_channels = self.channels[0];
        let channels = group * LANES..in_channels.min((group + 1) * LANES);
        let scale = simd.splat(self.scale.map_or(1.0, |scale| scale[row]));
        let mut taps = [simd.zero(); 9];
        let mut rest = [0.0; LANES];
        for tap in 0..9 {
            let from = &weights[tap * in_channels..][channels.clone()];
            let from = if from.len() < LANES {
                rest[..from.len()].copy_from_slice(from);
                &rest[..]
            } else {
                from
            };
            let to = match self.operand {
                Operand::Forward => tap,
                Operand::GradInput => 8 - tap,
            };
            // SAFETY: 16 numbers.
            taps[to] = simd.mul(scale, unsafe { simd.load_f32(from.as_ptr()) });
        }
        let tile = transform::weight(simd, taps);
        for p in 0..POSITIONS {
            // SAFETY: 16 elements.
            unsafe { M::store(simd, block.0[p][row].as_mut_ptr(), tile[p]) };
        }
    }

    /// Lanes are output channels, words hold adjacent input channels.
    #[inline(always)]
    fn store_forward<S: Simd>(&self, simd: S, group: usize, block: &Block<M>) {
        let words = words::<M>();
        let groups = self.channels[0].div_ceil(LANES);
        for p in 0..POSITIONS {
            let from = block.0[p].as_ptr().cast::<u32>();
            for k in 0..words {
                let vector = ((self.first / LANES * POSITIONS + p) * groups + group) * words + k;
                let mut column = [0; LANES];
                for (row, word) in column.iter_mut().enumerate() {
                    // SAFETY: a row has `words` words.
                    *word = unsafe { from.add(row * words + k).read() };
                }
                // SAFETY: `vector` is less than the vectors of the weight, since `first` is less
                // than the output channels.
                unsafe {
                    let column = simd.load_words(column.as_ptr());
                    simd.store_words(self.to.add(vector * LANES), column);
                }
            }
        }
    }

    /// Lanes are input channels, words hold adjacent output channels.
    #[inline(always)]
    fn store_grad_input<S: Simd>(&self, simd: S, group: usize, block: &Block<M>) {
        let words = words::<M>();
        let groups = self.channels[1].div_ceil(LANES);
        for p in 0..POSITIONS {
            for k in 0..words {
                let word = self.first / LANES * words + k;
                let vector = (group * POSITIONS + p) * groups * words + word;
                // SAFETY: a position has 16 rows; `vector` is less than the vectors of the
                // weight, since `first` is less than the output channels.
                unsafe {
                    let rows = block.0[p][k * M::PER_WORD].as_ptr();
                    let rows = M::load_rows(simd, rows, LANES);
                    simd.store_words(self.to.add(vector * LANES), rows);
                }
            }
        }
    }
}
