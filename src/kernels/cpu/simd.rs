//! Sixteen numbers at a time, in the instruction set that this machine has.
//!
//! A kernel is written once over [`Simd`] and compiled once for each implementation; [`dispatch`]
//! runs the best one. Where auto-vectorization is enough, use `crate::instructions` instead.
//!
//! A *word* is 32 bits of the contracted dimension: two adjacent bf16, or one f32. Multiplying
//! words and adding up ([`Number::dot`]) is all that a convolution does.

use half::bf16;

use super::Element;

/// Operations on sixteen lanes. Every method is `#[inline(always)]`, and must be called from code
/// that is inlined into [`dispatch`].
///
/// # Safety
/// Methods that take a pointer read or write sixteen elements there, aligned or not; a broadcast
/// reads one word. The machine has the instructions: only `dispatch` makes values of this type.
pub trait Simd: Copy {
    /// How many sums of sixteen lanes its registers hold, beside the factors.
    const SUMS: usize;

    /// Sixteen f32.
    type F: Copy;
    /// Sixteen words.
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
    /// What `load_bf16` gives after `store_bf16`.
    fn round_bf16(self, value: Self::F) -> Self::F;
    /// `a * b + c`, rounded once or twice.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    unsafe fn load_f32(self, from: *const f32) -> Self::F;
    unsafe fn store_f32(self, to: *mut f32, value: Self::F);
    unsafe fn load_bf16(self, from: *const bf16) -> Self::F;
    /// Rounds to nearest, ties to even.
    unsafe fn store_bf16(self, to: *mut bf16, value: Self::F);

    /// The first `count` elements and zeros: no others are read.
    unsafe fn load_first_f32(self, from: *const f32, count: usize) -> Self::F;
    /// Writes the first `count` elements alone.
    unsafe fn store_first_f32(self, to: *mut f32, value: Self::F, count: usize);
    unsafe fn load_first_bf16(self, from: *const bf16, count: usize) -> Self::F;
    unsafe fn store_first_bf16(self, to: *mut bf16, value: Self::F, count: usize);

    unsafe fn load_words(self, from: *const u32) -> Self::W;
    unsafe fn store_words(self, to: *mut u32, value: Self::W);
    unsafe fn broadcast_word(self, from: *const u32) -> Self::W;
    /// Words whose halves are `low[i]` and `high[i]`.
    unsafe fn interleave(self, low: *const bf16, high: *const bf16) -> Self::W;
    /// Words whose halves are `low[i]` and `high[i]`, rounded to nearest, ties to even.
    fn join(self, low: Self::F, high: Self::F) -> Self::W;
    /// `sum + a * b`, words being f32.
    fn dot_f32(self, sum: Self::F, a: Self::W, b: Self::W) -> Self::F;
    /// `sum + a.low * b.low + a.high * b.high`, words being pairs of bf16.
    fn dot_bf16(self, sum: Self::F, a: Self::W, b: Self::W) -> Self::F;
}

/// A number type of activations, as the SIMD kernels see it.
pub trait Number: Element {
    /// How many of them fill a word.
    const PER_WORD: usize;

    fn dot<S: Simd>(simd: S, sum: S::F, a: S::W, b: S::W) -> S::F;
    /// # Safety
    /// Reads sixteen elements.
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::F;
    /// # Safety
    /// Writes sixteen elements.
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, value: S::F);
    /// # Safety
    /// Reads the first `count` elements, sixteen at most; the others become zero.
    unsafe fn load_first<S: Simd>(simd: S, from: *const Self, count: usize) -> S::F;
    /// # Safety
    /// Writes the first `count` elements, sixteen at most.
    unsafe fn store_first<S: Simd>(simd: S, to: *mut Self, value: S::F, count: usize);
    /// The words of sixteen columns of a matrix, contracted along its rows, of which `PER_WORD` are
    /// read.
    ///
    /// # Safety
    /// Reads sixteen elements at `from`, and at `from + row` where a word holds two.
    unsafe fn load_rows<S: Simd>(simd: S, from: *const Self, row: usize) -> S::W;
    /// As `load_rows`, of two rows in registers; `high` is dropped where a word holds one.
    ///
    /// # Safety
    /// Writes sixteen words.
    unsafe fn store_rows<S: Simd>(simd: S, to: *mut u32, low: S::F, high: S::F);
    /// What `load` gives after `store`.
    fn rounded<S: Simd>(simd: S, value: S::F) -> S::F;
}

impl Number for f32 {
    const PER_WORD: usize = 1;

    #[inline(always)]
    fn dot<S: Simd>(simd: S, sum: S::F, a: S::W, b: S::W) -> S::F {
        simd.dot_f32(sum, a, b)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const f32) -> S::F {
        unsafe { simd.load_f32(from) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, to: *mut f32, value: S::F) {
        unsafe { simd.store_f32(to, value) }
    }

    #[inline(always)]
    unsafe fn load_first<S: Simd>(simd: S, from: *const f32, count: usize) -> S::F {
        unsafe { simd.load_first_f32(from, count) }
    }

    #[inline(always)]
    unsafe fn store_first<S: Simd>(simd: S, to: *mut f32, value: S::F, count: usize) {
        unsafe { simd.store_first_f32(to, value, count) }
    }

    #[inline(always)]
    unsafe fn load_rows<S: Simd>(simd: S, from: *const f32, _: usize) -> S::W {
        unsafe { simd.load_words(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store_rows<S: Simd>(simd: S, to: *mut u32, low: S::F, _: S::F) {
        unsafe { simd.store_f32(to.cast(), low) }
    }

    #[inline(always)]
    fn rounded<S: Simd>(_: S, value: S::F) -> S::F {
        value
    }
}

impl Number for bf16 {
    const PER_WORD: usize = 2;

    #[inline(always)]
    fn dot<S: Simd>(simd: S, sum: S::F, a: S::W, b: S::W) -> S::F {
        simd.dot_bf16(sum, a, b)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const bf16) -> S::F {
        unsafe { simd.load_bf16(from) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, to: *mut bf16, value: S::F) {
        unsafe { simd.store_bf16(to, value) }
    }

    #[inline(always)]
    unsafe fn load_first<S: Simd>(simd: S, from: *const bf16, count: usize) -> S::F {
        unsafe { simd.load_first_bf16(from, count) }
    }

    #[inline(always)]
    unsafe fn store_first<S: Simd>(simd: S, to: *mut bf16, value: S::F, count: usize) {
        unsafe { simd.store_first_bf16(to, value, count) }
    }

    #[inline(always)]
    unsafe fn load_rows<S: Simd>(simd: S, from: *const bf16, row: usize) -> S::W {
        unsafe { simd.interleave(from, from.add(row)) }
    }

    #[inline(always)]
    unsafe fn store_rows<S: Simd>(simd: S, to: *mut u32, low: S::F, high: S::F) {
        unsafe { simd.store_words(to, simd.join(low, high)) }
    }

    #[inline(always)]
    fn rounded<S: Simd>(simd: S, value: S::F) -> S::F {
        simd.round_bf16(value)
    }
}

/// Asks for the cache line of `at` to be read soon, where the machine can be asked.
#[inline(always)]
pub(super) fn prefetch<T>(at: &T) {
    // SAFETY: a hint, and part of the oldest x86-64.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Work written over [`Simd`]. `run` and all it calls must be `#[inline(always)]`.
pub(super) trait Kernel {
    fn run<S: Simd>(self, simd: S);
}

/// [`Simd::SUMS`] of this machine.
pub(super) fn sums() -> usize {
    struct Ask<'a>(&'a mut usize);

    impl Kernel for Ask<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            *self.0 = S::SUMS;
        }
    }

    let mut sums = 0;
    dispatch(Ask(&mut sums));
    sums
}

/// Runs a kernel with the best instructions of this machine.
pub(super) fn dispatch(kernel: impl Kernel) {
    on(chosen(), kernel);
}

/// Instruction sets, each with all that the ones before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

#[cfg(target_arch = "x86_64")]
fn best() -> Level {
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    if avx512 && is_x86_feature_detected!("avx512bf16") {
        Level::Avx512Bf16
    } else if avx512 {
        Level::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Level::Avx2
    } else {
        Level::Portable
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn best() -> Level {
    Level::Portable
}

/// `level` must be no better than `best()`.
fn on(level: Level, kernel: impl Kernel) {
    match level {
        Level::Portable => kernel.run(lanes::Lanes::<false>),
        // SAFETY: `best` has found these instructions, or better ones, on this machine.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 => unsafe { avx512_bf16(kernel) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(kernel: impl Kernel) {
    kernel.run(lanes::Lanes::<true>);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
fn avx512(kernel: impl Kernel) {
    kernel.run(avx512::Avx512::<false>);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
fn avx512_bf16(kernel: impl Kernel) {
    kernel.run(avx512::Avx512::<true>);
}

#[cfg(not(test))]
fn chosen() -> Level {
    best()
}

#[cfg(test)]
pub(super) use forced::{each_level, forced};

#[cfg(test)]
use forced::chosen;

/// For tests: the instructions of a test's own thread, to compare them.
#[cfg(test)]
mod forced {
    use std::cell::Cell;

    use super::{best, Level};

    thread_local!(static LIMIT: Cell<Option<Level>> = const { Cell::new(None) });

    pub(super) fn chosen() -> Level {
        LIMIT.get().unwrap_or(best()).min(best())
    }

    /// Every level that this machine has.
    pub(in crate::kernels::cpu) fn each_level() -> impl Iterator<Item = Level> {
        let all = [
            Level::Portable,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16,
        ];
        all.into_iter().filter(|&level| level <= best())
    }

    /// Runs `work` with no better instructions than `level`, on this thread alone: use `Serial`.
    pub(in crate::kernels::cpu) fn forced<R>(level: Level, work: impl FnOnce() -> R) -> R {
        LIMIT.set(Some(level));
        let result = work();
        LIMIT.set(None);
        result
    }
}

#[path = "simd_lanes.rs"]
mod lanes;

#[cfg(target_arch = "x86_64")]
#[path = "simd_avx512.rs"]
mod avx512;

#[cfg(test)]
mod tests {
    use super::*;

    struct Check<'a>(&'a [f32; 32], &'a mut [f32; 176]);

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
            }
        }
    }

    #[test]
    fn every_level_computes_the_same() {
        let values: [f32; 32] = std::array::from_fn(|i| (i as f32 * 0.37 - 5.0).sin() * 3.0);
        let round = |i: usize| bf16::from_f32(values[i]).to_f32();
        let expected: [f32; 176] = std::array::from_fn(|i| {
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
                _ => {
                    let (a, b) = (values[j], values[16 + j]);
                    b * b + (a - b).max(2.0 * a)
                }
            }
        });
        for level in each_level() {
            let mut out = [0.0; 176];
            forced(level, || dispatch(Check(&values, &mut out)));
            for (got, expected) in out.iter().zip(&expected) {
                assert!((got - expected).abs() < 1e-5, "{level:?}: {got} {expected}");
            }
        }
    }
}
