//! The inner loops: a row of outputs of one block of channels.

use super::super::columns::{column, load_lanes, rim, store_lanes};
use super::super::unroll::unroll;
use crate::cpu::{Number, Simd, LANES};
use crate::kernels::cpu::activation::SimdActivation;

/// A row of outputs and its source. Pointers are at the first channel of a block.
pub(super) struct Line<T> {
    /// The first column of the first source row under the kernel.
    pub x: *const T,
    /// Kernel rows that meet a row of the source, and elements from each of these rows to the next.
    pub rows: usize,
    pub row_step: usize,
    /// Columns of the source, and elements from column to column.
    pub columns: usize,
    pub pixel: usize,
    /// The source column under the first tap of the first output, and the columns from output to
    /// output.
    pub origin: isize,
    pub step: usize,
    /// Kernel columns, and source columns from one to the next.
    pub taps: usize,
    pub dilation: usize,
    /// `[rows][taps][LANES]`
    pub weight: *const f32,
    /// `[LANES]`
    pub bias: Option<*const f32>,
    /// In the layout of `y`.
    pub add: Option<*const T>,
    pub activation: SimdActivation,
    pub y: *mut T,
    pub outputs: usize,
    /// Elements from output to output.
    pub y_step: usize,
    /// Channels of the block.
    pub lanes: usize,
}

impl<T: Number> Line<T> {
    /// Computes the row for a kernel of `KW` columns and a step of `STEP`, along a plain axis.
    ///
    /// # Safety
    /// All pixels that the fields describe exist, with 16 channels each.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd, const KW: usize, const STEP: usize>(
        &self,
        simd: S,
        zeros: &[T; LANES],
    ) {
        debug_assert!((self.lanes, self.taps, self.step) == (LANES, KW, STEP));
        // As many sums as fit into the registers, beside a row of the kernel.
        let j = unsafe {
            match S::SUMS < 8 {
                true => self.tiles::<S, KW, STEP, 4>(simd, zeros),
                false => self.tiles::<S, KW, STEP, 8>(simd, zeros),
            }
        };
        let rest = self.outputs - j;
        unsafe {
            if rest & 4 != 0 {
                self.tile::<S, KW, STEP, 4, true>(simd, j, zeros);
            }
            if rest & 2 != 0 {
                self.tile::<S, KW, STEP, 2, true>(simd, j + (rest & 4), zeros);
            }
            if rest & 1 != 0 {
                self.tile::<S, KW, STEP, 1, true>(simd, j + (rest & 6), zeros);
            }
        }
    }

    /// The first outputs, in whole tiles of `X`. Returns their number.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const KW: usize, const STEP: usize, const X: usize>(
        &self,
        simd: S,
        zeros: &[T; LANES],
    ) -> usize {
        let mut j = 0;
        while j + X <= self.outputs {
            let first = self.origin + (j * STEP) as isize;
            let inside = first >= 0 && first as usize + (X - 1) * STEP + KW <= self.columns;
            unsafe {
                match inside {
                    true => self.tile::<S, KW, STEP, X, false>(simd, j, zeros),
                    false => self.tile::<S, KW, STEP, X, true>(simd, j, zeros),
                }
            }
            j += X;
        }
        j
    }

    /// The `X` outputs from `j` on. Neighboring outputs share columns, which are loaded once.
    #[inline(always)]
    unsafe fn tile<S, const KW: usize, const STEP: usize, const X: usize, const EDGE: bool>(
        &self,
        simd: S,
        j: usize,
        zeros: &[T; LANES],
    ) where
        S: Simd,
    {
        debug_assert!(j + X <= self.outputs);
        let first = self.origin + (j * STEP) as isize;
        let (columns, pixel) = (self.columns, self.pixel);
        unsafe {
            let mut sums = [simd.zero(); X];
            unroll!(I < X, { sums[I] = self.initial(simd, j + I) });
            let (mut row, mut weight) = (self.x, self.weight);
            for _ in 0..self.rows {
                let mut w = [simd.zero(); KW];
                unroll!(K < KW, { w[K] = simd.load_f32(weight.add(K * LANES)) });
                unroll!(I < X, {
                    unroll!(K < KW, {
                        let at = first + (I * STEP + K) as isize;
                        let x = match EDGE && rim::<KW, STEP, X>(I * STEP + K) {
                            true => column::<S, T, true>(simd, row, at, columns, pixel, zeros),
                            false => column::<S, T, false>(simd, row, at, columns, pixel, zeros),
                        };
                        sums[I] = simd.mul_add(w[K], x, sums[I]);
                    });
                });
                row = row.wrapping_add(self.row_step);
                weight = weight.wrapping_add(KW * LANES);
            }
            unroll!(I < X, { self.finish(simd, j + I, sums[I]) });
        }
    }

    /// The value that the sum of an output starts from.
    #[inline(always)]
    unsafe fn initial<S: Simd>(&self, simd: S, j: usize) -> S::F {
        unsafe {
            match (self.bias, self.add) {
                (Some(bias), _) => simd.load_f32(bias),
                (_, Some(add)) => T::load(simd, add.add(j * self.y_step)),
                _ => simd.zero(),
            }
        }
    }

    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, simd: S, j: usize, sum: S::F) {
        let value = self.activation.apply(simd, sum);
        unsafe { T::store(simd, self.y.add(j * self.y_step), value) }
    }

    /// Computes the row for any kernel and any number of lanes, one output at a time.
    ///
    /// # Safety
    /// All pixels that the fields describe exist, with `lanes` channels each.
    #[inline(always)]
    pub(super) unsafe fn run_any<S: Simd>(&self, simd: S) {
        for j in 0..self.outputs {
            unsafe {
                let mut sum = match (self.bias, self.add) {
                    (Some(bias), _) => simd.load_f32(bias),
                    (_, Some(add)) => load_lanes(simd, add.add(j * self.y_step), self.lanes),
                    _ => simd.zero(),
                };
                let first = self.origin + (j * self.step) as isize;
                for tap in 0..self.taps {
                    let column = first + (tap * self.dilation) as isize;
                    if column as usize >= self.columns {
                        continue;
                    }
                    let x = self.x.add(column as usize * self.pixel);
                    for row in 0..self.rows {
                        let w = self.weight.add((row * self.taps + tap) * LANES);
                        let x = load_lanes(simd, x.add(row * self.row_step), self.lanes);
                        sum = simd.mul_add(simd.load_f32(w), x, sum);
                    }
                }
                let value = self.activation.apply(simd, sum);
                store_lanes(simd, self.y.add(j * self.y_step), value, self.lanes);
            }
        }
    }
}
