//! The operations on 16 lanes which a kernel is written with.

use half::bf16;

/// Lanes of a vector, on every machine: one register of AVX-512, two of AVX2.
pub(crate) const LANES: usize = 16;

/// Operations on 16 lanes. Every method is `#[inline(always)]`, and must be called from code that
/// is inlined into `dispatch`.
///
/// # Safety
/// Methods that take a pointer read or write 16 elements there, aligned or not; a broadcast reads
/// one word. The machine has the instructions, because only `dispatch` makes values of this type.
pub trait Simd: Copy {
    /// The number of vectors of sums that fit in the registers beside the factors.
    const SUMS: usize;

    /// A vector of f32.
    type F: Copy;
    /// A vector of words.
    type W: Copy;

    fn zero(self) -> Self::F;
    fn splat(self, value: f32) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// The larger of two; `b` where `a` is not a number.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller of two; `b` where `a` is not a number.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `yes` where `a <= b`, `no` elsewhere and where one is not a number.
    fn where_le(self, a: Self::F, b: Self::F, yes: Self::F, no: Self::F) -> Self::F;
    /// The value that `load_bf16` returns after `store_bf16`.
    fn round_bf16(self, value: Self::F) -> Self::F;
    /// `a * b + c`, rounded once or twice.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `value * 2^power`, for whole powers from -126 to 127.
    fn times_power(self, value: Self::F, power: Self::F) -> Self::F;
    unsafe fn load_f32(self, from: *const f32) -> Self::F;
    unsafe fn store_f32(self, to: *mut f32, value: Self::F);
    unsafe fn load_bf16(self, from: *const bf16) -> Self::F;
    /// Rounds to nearest, ties to even.
    unsafe fn store_bf16(self, to: *mut bf16, value: Self::F);
    /// Writes 32 elements as `store_bf16` does, at once if the instructions can.
    ///
    /// # Safety
    /// There is room for them.
    #[inline(always)]
    unsafe fn store_bf16_line(self, to: *mut bf16, low: Self::F, high: Self::F) {
        unsafe {
            self.store_bf16(to, low);
            self.store_bf16(to.add(LANES), high);
        }
    }

    /// The first `count` elements, then zeros. No other elements are read.
    unsafe fn load_first_f32(self, from: *const f32, count: usize) -> Self::F;
    /// Writes only the first `count` elements.
    unsafe fn store_first_f32(self, to: *mut f32, value: Self::F, count: usize);
    unsafe fn load_first_bf16(self, from: *const bf16, count: usize) -> Self::F;
    unsafe fn store_first_bf16(self, to: *mut bf16, value: Self::F, count: usize);

    unsafe fn load_words(self, from: *const u32) -> Self::W;
    unsafe fn store_words(self, to: *mut u32, value: Self::W);
    /// Writes rows of 16 words as columns.
    ///
    /// # Safety
    /// `from` and `to` are 16 rows of 16 words, one after the other, and do not overlap.
    unsafe fn transpose(self, from: *const u32, to: *mut u32);
    unsafe fn broadcast_word(self, from: *const u32) -> Self::W;
    /// Words whose halves are `low[i]` and `high[i]`.
    unsafe fn interleave(self, low: *const bf16, high: *const bf16) -> Self::W;
    /// Words whose halves are `from[i]` and `from[16 + i]`.
    ///
    /// # Safety
    /// Reads 32 elements.
    unsafe fn interleave_next(self, from: *const bf16) -> Self::W;
    /// Words whose halves are `low[i]` and `high[i]`, rounded to nearest, ties to even.
    fn join(self, low: Self::F, high: Self::F) -> Self::W;
    /// `sum + a * b`, where words are f32.
    fn dot_f32(self, sum: Self::F, a: Self::W, b: Self::W) -> Self::F;
    /// `sum + a.low * b.low + a.high * b.high`, where words are pairs of bf16.
    fn dot_bf16(self, sum: Self::F, a: Self::W, b: Self::W) -> Self::F;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{each_level, forced};
    use crate::cpu::{dispatch, Kernel};

    const POWERS: [f32; 16] =
        [0., 1., -1., 5., -7., 20., -20., 0., 3., -3., 2., -2., 12., -12., 1., 0.];

    struct Check<'a>(&'a [f32; 32], &'a mut [f32; 192]);

    impl Kernel for Check<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Check(values, out) = self;
            let half: Vec<bf16> = values.iter().map(|v| bf16::from_f32(*v)).collect();
            // SAFETY: each pointer has sixteen elements behind it.
            unsafe {
                let words = simd.interleave(half.as_ptr(), half.as_ptr().add(16));
                let first = simd.broadcast_word(half.as_ptr().cast());
                let sum = simd.load_f32(values.as_ptr());
                simd.store_f32(out.as_mut_ptr(), simd.dot_bf16(sum, words, first));
                let (a, b) = (values.as_ptr().cast(), values.as_ptr().add(7).cast());
                let product = simd.dot_f32(sum, simd.load_words(a), simd.broadcast_word(b));
                simd.store_f32(out.as_mut_ptr().add(16), product);
                let mut rounded = [bf16::ZERO; 16];
                simd.store_bf16(rounded.as_mut_ptr(), sum);
                simd.store_f32(out.as_mut_ptr().add(32), simd.load_bf16(rounded.as_ptr()));
                let other = simd.load_f32(values.as_ptr().add(16));
                let rest = simd.max(simd.sub(sum, other), simd.mul(sum, simd.splat(2.0)));
                let rest = simd.mul_add(other, other, simd.add(rest, simd.zero()));
                simd.store_f32(out.as_mut_ptr().add(48), rest);
                simd.store_f32(out.as_mut_ptr().add(64), simd.min(sum, other));
                let first = simd.load_first_f32(values.as_ptr().add(27), 5);
                simd.store_f32(out.as_mut_ptr().add(80), first);
                simd.store_first_f32(out.as_mut_ptr().add(96), sum, 3);
                let tail = rounded.as_ptr().add(9);
                simd.store_first_bf16(rounded.as_mut_ptr(), simd.load_first_bf16(tail, 7), 6);
                simd.store_f32(out.as_mut_ptr().add(112), simd.load_bf16(rounded.as_ptr()));
                simd.store_words(out.as_mut_ptr().add(128).cast(), simd.join(sum, other));
                let chosen = simd.where_le(sum, other, simd.splat(f32::NAN), sum);
                let chosen = simd.where_le(chosen, chosen, chosen, other);
                simd.store_f32(out.as_mut_ptr().add(144), chosen);
                simd.store_f32(out.as_mut_ptr().add(160), simd.round_bf16(other));
                let power = simd.load_f32(POWERS.as_ptr());
                simd.store_f32(out.as_mut_ptr().add(176), simd.times_power(sum, power));
            }
        }
    }

    #[test]
    fn every_level_computes_the_same() {
        let values: [f32; 32] = std::array::from_fn(|i| (i as f32 * 0.37 - 5.0).sin() * 3.0);
        let round = |i: usize| bf16::from_f32(values[i]).to_f32();
        let expected: [f32; 192] = std::array::from_fn(|i| {
            let j = i % 16;
            match i / 16 {
                0 => values[j] + round(j) * round(0) + round(16 + j) * round(1),
                1 => values[j] + values[j] * values[7],
                2 => round(j),
                4 => values[j].min(values[16 + j]),
                5 if j < 5 => values[27 + j],
                6 if j < 3 => values[j],
                5 | 6 => 0.0,
                7 if j < 6 => round(9 + j),
                7 => round(j),
                8 => {
                    let bits = |i| u32::from(bf16::from_f32(values[i]).to_bits());
                    f32::from_bits(bits(j) | bits(16 + j) << 16)
                }
                9 => values[j].max(values[16 + j]),
                10 => round(16 + j),
                11 => values[j] * POWERS[j].exp2(),
                _ => {
                    let (a, b) = (values[j], values[16 + j]);
                    b * b + (a - b).max(2.0 * a)
                }
            }
        });
        for level in each_level() {
            let mut out = [0.0; 192];
            forced(level, || dispatch(Check(&values, &mut out)));
            for (got, expected) in out.iter().zip(&expected) {
                assert!((got - expected).abs() < 1e-5, "{level:?}: {got} {expected}");
            }
        }
    }

    struct Transpose<'a>(&'a [u32; 256], &'a mut [u32; 256]);

    impl Kernel for Transpose<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            // SAFETY: both are 16 rows of 16 words.
            unsafe { simd.transpose(self.0.as_ptr(), self.1.as_mut_ptr()) };
        }
    }

    #[test]
    fn rows_become_columns() {
        let words = std::array::from_fn(|i| i as u32);
        for level in each_level() {
            let mut out = [0; 256];
            forced(level, || dispatch(Transpose(&words, &mut out)));
            assert!((0..256).all(|i| out[i] == (i % 16 * 16 + i / 16) as u32), "{level:?}");
        }
    }
}
