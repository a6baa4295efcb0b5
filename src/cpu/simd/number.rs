//! Kernels that are generic over the type of their numbers.

use half::bf16;

use super::{Simd, LANES};
use crate::cpu::Element;

/// A number type that SIMD kernels load and store.
pub trait Number: Element {
    /// Numbers in a word.
    const PER_WORD: usize;

    fn dot<S: Simd>(simd: S, sum: S::F, a: S::W, b: S::W) -> S::F;
    /// # Safety
    /// Reads 16 elements.
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::F;
    /// # Safety
    /// Writes 16 elements.
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, value: S::F);
    /// # Safety
    /// Reads the first `count` elements, 16 at most; the other lanes become zero.
    unsafe fn load_first<S: Simd>(simd: S, from: *const Self, count: usize) -> S::F;
    /// # Safety
    /// Writes the first `count` elements, 16 at most.
    unsafe fn store_first<S: Simd>(simd: S, to: *mut Self, value: S::F, count: usize);
    /// The words of 16 columns of a matrix which is contracted along its rows. `PER_WORD` rows are
    /// read.
    ///
    /// # Safety
    /// Reads 16 elements at `from`, and at `from + row` where a word holds two.
    unsafe fn load_rows<S: Simd>(simd: S, from: *const Self, row: usize) -> S::W;
    /// Stores two rows as the words that `load_rows` reads. `high` is dropped where a word holds
    /// one number.
    ///
    /// # Safety
    /// Writes 16 words.
    unsafe fn store_rows<S: Simd>(simd: S, to: *mut u32, low: S::F, high: S::F);
    /// The value that `load` returns after `store`.
    fn rounded<S: Simd>(simd: S, value: S::F) -> S::F;
}

/// Copies 16 numbers to another type.
///
/// # Safety
/// Reads and writes 16 elements.
#[inline(always)]
pub(crate) unsafe fn convert<S: Simd, T: Number, U: Number>(simd: S, from: *const T, to: *mut U) {
    // Two number types with words of as many numbers are the same. Their bits are copied, since
    // there are instructions that round bf16 to itself and lose its smallest values.
    unsafe {
        match T::PER_WORD == U::PER_WORD {
            true => {
                to.cast::<[T; LANES]>().write_unaligned(from.cast::<[T; LANES]>().read_unaligned())
            }
            false => U::store(simd, to, T::load(simd, from)),
        }
    }
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
