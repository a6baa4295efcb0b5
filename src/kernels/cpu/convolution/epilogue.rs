//! Bias, residual, activation and rounding of a tile, and the moments of what is stored.

use super::moments::Shifted;
use crate::cpu::{Number, Simd, LANES};
use crate::kernels::cpu::activation::SimdActivation;

/// How the outputs of a row of tiles are finished, and where they are stored.
pub(super) struct Epilogue<'a, T> {
    /// The bias of the first block of channels.
    pub bias: Option<*const f32>,
    pub residual: Option<*const T>,
    pub activation: SimdActivation,
    /// The first output of the row, in the first block.
    pub out: *mut T,
    /// Elements from row to row.
    pub out_row: usize,
    /// Elements from `out` to each pixel.
    pub pixels: &'a [usize],
    /// Output channels from the first block on.
    pub channels: usize,
    pub moments: Option<Shifted>,
    /// This task has not stored any output of these channels yet.
    pub fresh: bool,
}

impl<T> Clone for Epilogue<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Epilogue<'_, T> {}

impl<T: Number> Epilogue<'_, T> {
    #[inline(always)]
    pub(super) fn next_row(&mut self) {
        // After the last row the pointers may lie outside the slices; they are not used then.
        self.out = self.out.wrapping_add(self.out_row);
        self.residual = self.residual.map(|residual| residual.wrapping_add(self.out_row));
    }

    /// Stores a tile of `pixels` outputs from `at` on and `blocks` of channels. The sums of a block
    /// are `[pixel][16]`, those of different blocks are `stride` apart.
    ///
    /// # Safety
    /// All pointers are valid for the pixels and channels.
    #[inline(always)]
    pub(super) unsafe fn tile<S: Simd>(
        &mut self,
        simd: S,
        at: usize,
        pixels: usize,
        blocks: usize,
        sums: *const f32,
        stride: usize,
    ) {
        let pixels = &self.pixels[at..at + pixels];
        let identity = self.activation.is_identity();
        let plain = identity && self.bias.is_none() && self.residual.is_none();
        for block in 0..blocks {
            let sums = sums.wrapping_add(block * stride);
            let first = block * LANES;
            unsafe {
                match (plain, self.channels - first) {
                    (true, LANES..) => self.block::<S, true, true>(simd, first, pixels, sums),
                    (false, LANES..) => self.block::<S, false, true>(simd, first, pixels, sums),
                    _ => self.block::<S, false, false>(simd, first, pixels, sums),
                }
            }
        }
        self.fresh = false;
    }

    /// Stores one block. `PLAIN`: the sums are the outputs. `WHOLE`: the block has all 16 channels.
    #[inline(always)]
    unsafe fn block<S: Simd, const PLAIN: bool, const WHOLE: bool>(
        &self,
        simd: S,
        first: usize,
        pixels: &[usize],
        sums: *const f32,
    ) {
        let count = self.channels - first;
        let load = |from: *const T| unsafe {
            match WHOLE {
                true => T::load(simd, from),
                false => T::load_first(simd, from, count),
            }
        };
        let bias = match self.bias {
            Some(bias) if !PLAIN => unsafe { simd.load_f32(bias.add(first)) },
            _ => simd.zero(),
        };
        for (i, &pixel) in pixels.iter().enumerate() {
            let mut value = unsafe { simd.load_f32(sums.add(i * LANES)) };
            if !PLAIN {
                value = simd.add(value, bias);
                if let Some(residual) = self.residual {
                    value = simd.add(value, load(unsafe { residual.add(pixel + first) }));
                }
                value = self.activation.apply(simd, value);
            }
            let to = unsafe { self.out.add(pixel + first) };
            match WHOLE {
                true => unsafe { T::store(simd, to, value) },
                false => unsafe { T::store_first(simd, to, value, count) },
            }
        }
        if let Some(moments) = self.moments {
            // The moments are those of the rounded outputs, so these are read back.
            let stored = |&pixel: &usize| load(unsafe { self.out.add(pixel + first) });
            unsafe { moments.add(simd, first, self.fresh, pixels.iter().map(stored)) };
        }
    }
}
