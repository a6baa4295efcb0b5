//! The inner loops: a row of `grad_y` times the rows of `x` under a few rows of the kernel.

use super::super::columns::{column, load_lanes, rim};
use super::super::unroll::unroll;
use crate::cpu::{Number, Simd, LANES};

/// A row of `grad_y` and rows of `x`. Pointers are at the first channel of a block.
pub(super) struct Products<T, const R: usize> {
    /// For each kernel row, the first column of the row of `x` under it; a row of zeros if there is
    /// none.
    pub x: [*const T; R],
    /// Columns of `x`.
    pub columns: usize,
    /// The column of `x` under the first tap of the first output, and the columns from output to
    /// output.
    pub origin: isize,
    pub step: usize,
    pub grad_y: *const T,
    pub outputs: usize,
    /// Elements of a pixel.
    pub pixel: usize,
}

impl<T: Number, const R: usize> Products<T, R> {
    /// Adds to the gradients of `R` kernel rows of `KW` taps, along a plain axis.
    ///
    /// # Safety
    /// All pixels that the fields describe exist, with 16 channels each.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd, const KW: usize, const STEP: usize>(
        &self,
        simd: S,
        zeros: &[T; LANES],
        mut sums: [[S::F; KW]; R],
    ) -> [[S::F; KW]; R] {
        debug_assert!(self.step == STEP);
        let mut j = 0;
        while j + 8 <= self.outputs {
            let first = self.origin + (j * STEP) as isize;
            let inside = first >= 0 && first as usize + 7 * STEP + KW <= self.columns;
            sums = unsafe {
                match inside {
                    true => self.tile::<S, KW, STEP, 8, false>(simd, j, zeros, sums),
                    false => self.tile::<S, KW, STEP, 8, true>(simd, j, zeros, sums),
                }
            };
            j += 8;
        }
        let rest = self.outputs - j;
        unsafe {
            if rest & 4 != 0 {
                sums = self.tile::<S, KW, STEP, 4, true>(simd, j, zeros, sums);
            }
            if rest & 2 != 0 {
                sums = self.tile::<S, KW, STEP, 2, true>(simd, j + (rest & 4), zeros, sums);
            }
            if rest & 1 != 0 {
                sums = self.tile::<S, KW, STEP, 1, true>(simd, j + (rest & 6), zeros, sums);
            }
        }
        sums
    }

    /// Adds the `X` outputs from `j` on. Neighboring outputs share columns, which are loaded once.
    #[inline(always)]
    unsafe fn tile<S, const KW: usize, const STEP: usize, const X: usize, const EDGE: bool>(
        &self,
        simd: S,
        j: usize,
        zeros: &[T; LANES],
        mut sums: [[S::F; KW]; R],
    ) -> [[S::F; KW]; R]
    where
        S: Simd,
    {
        debug_assert!(j + X <= self.outputs);
        let first = self.origin + (j * STEP) as isize;
        let (columns, pixel) = (self.columns, self.pixel);
        unsafe {
            // Output by output, so that consecutive additions go to different sums.
            unroll!(I < X, {
                let grad = T::load(simd, self.grad_y.add((j + I) * pixel));
                unroll!(Y < R, {
                    unroll!(K < KW, {
                        let (row, at) = (self.x[Y], first + (I * STEP + K) as isize);
                        let x = match EDGE && rim::<KW, STEP, X>(I * STEP + K) {
                            true => column::<S, T, true>(simd, row, at, columns, pixel, zeros),
                            false => column::<S, T, false>(simd, row, at, columns, pixel, zeros),
                        };
                        sums[Y][K] = simd.mul_add(grad, x, sums[Y][K]);
                    });
                });
            });
        }
        sums
    }

    /// Adds to the gradient of one tap, for any number of lanes. Output `j` meets column
    /// `start + j * step` of `x`.
    ///
    /// # Safety
    /// All pixels that the fields describe exist, with `lanes` channels each.
    #[inline(always)]
    pub(super) unsafe fn run_any<S: Simd>(
        &self,
        simd: S,
        mut sum: S::F,
        start: isize,
        lanes: usize,
    ) -> S::F {
        for j in 0..self.outputs {
            let column = start + (j * self.step) as isize;
            if (column as usize) < self.columns {
                unsafe {
                    let x = load_lanes(simd, self.x[0].add(column as usize * self.pixel), lanes);
                    let grad = load_lanes(simd, self.grad_y.add(j * self.pixel), lanes);
                    sum = simd.mul_add(grad, x, sum);
                }
            }
        }
        sum
    }
}
