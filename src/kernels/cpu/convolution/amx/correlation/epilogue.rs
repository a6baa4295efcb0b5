//! Stores tiles of sums, two blocks of channels as one cache line.

use half::bf16;

use crate::cpu::{Simd, LANES, TILE_WORDS};
use crate::kernels::cpu::convolution::epilogue::Epilogue;

/// Outputs of a tile: those of row `row` from output `at` on.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub row: usize,
    pub at: usize,
    pub outputs: usize,
}

impl Epilogue<'_, bf16> {
    /// Stores the outputs of a tile, of one or two blocks, whose sums follow each other.
    ///
    /// # Safety
    /// All pointers are valid for the outputs and channels.
    #[inline(always)]
    pub(super) unsafe fn store<S: Simd>(
        &mut self,
        simd: S,
        place: Place,
        blocks: usize,
        sums: *const f32,
    ) {
        let skipped = place.row * self.out_row;
        let out = self.out.wrapping_add(skipped);
        let residual = self.residual.map(|residual| residual.wrapping_add(skipped));
        let mut of_row = Epilogue { out, residual, ..*self };
        let identity = self.activation.is_identity();
        let plain = identity && self.bias.is_none() && self.residual.is_none();
        unsafe {
            match (blocks, plain) {
                (2, true) if self.channels >= 2 * LANES => {
                    of_row.lines::<S, true>(simd, place, sums);
                }
                (2, false) if self.channels >= 2 * LANES => {
                    of_row.lines::<S, false>(simd, place, sums);
                }
                _ => of_row.tile(simd, place.at, place.outputs, blocks, sums, TILE_WORDS),
            }
        }
        self.fresh = false;
    }

    /// Stores two whole blocks. `PLAIN`: the sums are the outputs.
    #[inline(always)]
    unsafe fn lines<S: Simd, const PLAIN: bool>(&self, simd: S, place: Place, sums: *const f32) {
        let pixels = &self.pixels[place.at..place.at + place.outputs];
        let (mut low_bias, mut high_bias) = (simd.zero(), simd.zero());
        unsafe {
            if let Some(bias) = self.bias {
                (low_bias, high_bias) = (simd.load_f32(bias), simd.load_f32(bias.add(LANES)));
            }
            for (i, &pixel) in pixels.iter().enumerate() {
                let mut low = simd.load_f32(sums.add(i * LANES));
                let mut high = simd.load_f32(sums.add(TILE_WORDS + i * LANES));
                if !PLAIN {
                    (low, high) = (simd.add(low, low_bias), simd.add(high, high_bias));
                    if let Some(residual) = self.residual {
                        let residual = residual.add(pixel);
                        low = simd.add(low, simd.load_bf16(residual));
                        high = simd.add(high, simd.load_bf16(residual.add(LANES)));
                    }
                    low = self.activation.apply(simd, low);
                    high = self.activation.apply(simd, high);
                }
                simd.store_bf16_line(self.out.add(pixel), low, high);
            }
            if let Some(moments) = self.moments {
                // The moments are those of the rounded outputs, so these are read back.
                for first in [0, LANES] {
                    let stored = |&pixel: &usize| simd.load_bf16(self.out.add(pixel + first));
                    moments.add(simd, first, self.fresh, pixels.iter().map(stored));
                }
            }
        }
    }
}
