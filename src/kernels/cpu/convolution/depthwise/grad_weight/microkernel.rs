//! The inner loops of the weight gradient: a row of `grad_y` times the rows of `x` that a few
//! kernel rows met.

use super::super::columns::{column, load_lanes, rim};
use super::super::unroll::unroll;
use crate::cpu::{Number, Simd, LANES};

/// A row of `grad_y` and its partners. Pointers are at the window's first channel.
pub(super) struct Products<T, const R: usize> {
    /// The first column of the row that each kernel row met; of a row of zeros where it met none.
    pub x: [*const T; R],
    /// Columns of `x`.
    pub columns: usize,
    /// The column of the first output's first tap, and the columns between neighboring outputs'.
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
    /// All that the fields say is there, and sixteen lanes everywhere.
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

    /// The `X` outputs from `j` on. Neighbors share columns: each is loaded once.
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
            // Output by output: the sums of all rows and taps take turns, and none waits for itself.
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

    /// Adds to the gradient of one tap, the input column of output `j` being `start + j * step`,
    /// for any number of lanes.
    ///
    /// # Safety
    /// All that the fields say is there, and `lanes` channels everywhere.
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
