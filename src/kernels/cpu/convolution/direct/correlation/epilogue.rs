//! Bias, residual, activation and rounding of a tile, and the moments of what is stored.

use super::accumulators::Sums;
use crate::cpu::{Number, Simd, LANES};
use crate::kernels::cpu::activation::SimdActivation;
use crate::kernels::cpu::moments::add_shifted;

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

/// Sums over the outputs `y` of a task, of the row's first block and on: of `y - pivot` and of
/// its square. The pivot is one of the outputs, so rounding stays small beside the variance
/// however large the mean is; sums are f32 within a tile alone.
#[derive(Clone, Copy)]
pub(super) struct Shifted {
    pub pivot: *mut f32,
    pub sum: *mut f64,
    pub squares: *mut f64,
}

impl<T: Number> Epilogue<'_, T> {
    #[inline(always)]
    pub(super) fn next_row(&mut self) {
        // After the last row the pointers may lie outside the slices; they are not used then.
        self.out = self.out.wrapping_add(self.out_row);
        self.residual = self.residual.map(|residual| residual.wrapping_add(self.out_row));
    }

    /// Stores a tile of `pixels` outputs from `at` on and `blocks` of channels.
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
        sums: &Sums,
    ) {
        let pixels = &self.pixels[at..at + pixels];
        let identity = self.activation.is_identity();
        let plain = identity && self.bias.is_none() && self.residual.is_none();
        for block in 0..blocks {
            let sums = sums.at(block * pixels.len());
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

impl Shifted {
    #[inline(always)]
    unsafe fn add<S: Simd>(
        self,
        simd: S,
        first: usize,
        fresh: bool,
        mut values: impl Iterator<Item = S::F> + Clone,
    ) {
        let pivot = unsafe { self.pivot.add(first) };
        if fresh {
            let value = values.clone().next().unwrap_or(simd.zero());
            unsafe { simd.store_f32(pivot, value) };
        }
        let pivot = unsafe { simd.load_f32(pivot) };
        let mut sums = [simd.zero(); 2];
        for value in &mut values {
            sums = add_shifted::<S, true>(simd, sums, pivot, value);
        }
        unsafe {
            widen(simd, sums[0], self.sum.add(first));
            widen(simd, sums[1], self.squares.add(first));
        }
    }
}

/// Adds 16 sums in f32 to 16 sums in f64.
#[inline(always)]
unsafe fn widen<S: Simd>(simd: S, values: S::F, to: *mut f64) {
    let mut lanes = [0.0f32; LANES];
    unsafe {
        simd.store_f32(lanes.as_mut_ptr(), values);
        let mut total = to.cast::<[f64; LANES]>().read_unaligned();
        for (total, value) in total.iter_mut().zip(lanes) {
            *total += f64::from(value);
        }
        to.cast::<[f64; LANES]>().write_unaligned(total);
    }
}
