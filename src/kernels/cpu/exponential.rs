//! The exponential function of vectors.

use crate::cpu::Simd;

/// Added and subtracted, it rounds a number to a whole one.
const WHOLE: f32 = 12_582_912.0;

/// `e^x` with a relative error of about 1e-7, for x up to 88. Below -87 it stays at `e^-87`, which
/// is about 1e-38. NaN stays NaN.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::F) -> S::F {
    let x = simd.max(simd.splat(-87.0), x);
    let whole = simd.splat(WHOLE);
    let rounded = simd.mul_add(x, simd.splat(std::f32::consts::LOG2_E), whole);
    let power = simd.sub(rounded, whole);
    // The rest `r = x - power * ln 2`, with ln 2 in two parts so that the difference is precise.
    let r = simd.mul_add(power, simd.splat(-0.693_359_4), x);
    let r = simd.mul_add(power, simd.splat(2.121_944_4e-4), r);
    // The polynomial of Cephes' `expf`.
    let mut p = simd.splat(1.987_569_1e-4);
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = simd.mul_add(p, r, simd.splat(coefficient));
    }
    let p = simd.mul_add(p, simd.mul(r, r), simd.add(r, simd.splat(1.0)));
    simd.times_power(p, power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{each_level, forced};
    use crate::cpu::{dispatch, Kernel, LANES};

    struct Exp<'a>(&'a mut [f32; LANES]);

    impl Kernel for Exp<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            // SAFETY: the array holds a vector.
            unsafe {
                let y = exp(simd, simd.load_f32(self.0.as_ptr()));
                simd.store_f32(self.0.as_mut_ptr(), y);
            }
        }
    }

    #[test]
    fn every_level_computes_the_exponential() {
        for level in each_level() {
            for start in 0..2000 {
                let x: [f32; LANES] =
                    std::array::from_fn(|i| (start * LANES + i) as f32 * 0.0054 - 86.9);
                let mut y = x;
                forced(level, || dispatch(Exp(&mut y)));
                for (x, y) in x.into_iter().zip(y) {
                    let expected = f64::from(x).exp();
                    let error = (f64::from(y) - expected).abs() / expected;
                    assert!(error < 2e-7, "{level:?}: exp({x}) = {y}, expected {expected}");
                }
            }
        }
    }

    #[test]
    fn extremes_stay_finite_and_nan_stays() {
        for level in each_level() {
            let mut y = [f32::NEG_INFINITY; LANES];
            y[1] = f32::NAN;
            forced(level, || dispatch(Exp(&mut y)));
            assert!(y[0] >= 0.0 && y[0] < 2e-38 && y[1].is_nan(), "{level:?}: {y:?}");
        }
    }
}
