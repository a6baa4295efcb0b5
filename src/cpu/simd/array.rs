//! 16 lanes as an array, for machines without vectors that the core has instructions for.

use half::bf16;

use super::{Simd, LANES};
use crate::cpu::Element;

#[derive(Clone, Copy)]
pub struct Array;

#[inline(always)]
fn each(value: impl Fn(usize) -> f32) -> [f32; LANES] {
    std::array::from_fn(value)
}

#[inline(always)]
fn low(word: u32) -> f32 {
    f32::from_bits(word << 16)
}

#[inline(always)]
fn high(word: u32) -> f32 {
    f32::from_bits(word & 0xffff_0000)
}

impl Simd for Array {
    type F = [f32; LANES];
    type W = [u32; LANES];

    // As with AVX2.
    const SUMS: usize = 6;

    #[inline(always)]
    fn zero(self) -> [f32; LANES] {
        [0.0; LANES]
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    fn add(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn max(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn where_le(
        self,
        a: [f32; LANES],
        b: [f32; LANES],
        yes: [f32; LANES],
        no: [f32; LANES],
    ) -> [f32; LANES] {
        each(|i| if a[i] <= b[i] { yes[i] } else { no[i] })
    }

    #[inline(always)]
    fn round_bf16(self, value: [f32; LANES]) -> [f32; LANES] {
        each(|i| Element::to_f32(<bf16 as Element>::from_f32(value[i])))
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        each(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn times_power(self, value: [f32; LANES], power: [f32; LANES]) -> [f32; LANES] {
        // Added to this number, a whole one is in the lowest bits of the sum.
        const WHOLE: f32 = 12_582_912.0;
        let exponent = |power: f32| (power + WHOLE).to_bits().wrapping_add(127) << 23;
        each(|i| value[i] * f32::from_bits(exponent(power[i])))
    }

    #[inline(always)]
    unsafe fn load_f32(self, from: *const f32) -> [f32; LANES] {
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_f32(self, to: *mut f32, value: [f32; LANES]) {
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const bf16) -> [f32; LANES] {
        let values = unsafe { from.cast::<[bf16; LANES]>().read_unaligned() };
        each(|i| Element::to_f32(values[i]))
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16, value: [f32; LANES]) {
        let values: [bf16; LANES] = std::array::from_fn(|i| Element::from_f32(value[i]));
        unsafe { to.cast::<[bf16; LANES]>().write_unaligned(values) }
    }

    #[inline(always)]
    unsafe fn load_first_f32(self, from: *const f32, count: usize) -> [f32; LANES] {
        each(|i| if i < count { unsafe { from.add(i).read() } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store_first_f32(self, to: *mut f32, value: [f32; LANES], count: usize) {
        unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), to, count) }
    }

    #[inline(always)]
    unsafe fn load_first_bf16(self, from: *const bf16, count: usize) -> [f32; LANES] {
        each(|i| if i < count { Element::to_f32(unsafe { from.add(i).read() }) } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store_first_bf16(self, to: *mut bf16, value: [f32; LANES], count: usize) {
        let values: [bf16; LANES] = std::array::from_fn(|i| Element::from_f32(value[i]));
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), to, count) }
    }

    #[inline(always)]
    unsafe fn load_words(self, from: *const u32) -> [u32; LANES] {
        unsafe { from.cast::<[u32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_words(self, to: *mut u32, value: [u32; LANES]) {
        unsafe { to.cast::<[u32; LANES]>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const u32, to: *mut u32) {
        for i in 0..LANES {
            for j in 0..LANES {
                unsafe { *to.add(j * LANES + i) = *from.add(i * LANES + j) };
            }
        }
    }

    #[inline(always)]
    unsafe fn broadcast_word(self, from: *const u32) -> [u32; LANES] {
        [unsafe { from.read_unaligned() }; LANES]
    }

    #[inline(always)]
    unsafe fn interleave(self, low: *const bf16, high: *const bf16) -> [u32; LANES] {
        let low = unsafe { low.cast::<[u16; LANES]>().read_unaligned() };
        let high = unsafe { high.cast::<[u16; LANES]>().read_unaligned() };
        std::array::from_fn(|i| u32::from(low[i]) | u32::from(high[i]) << 16)
    }

    #[inline(always)]
    unsafe fn interleave_next(self, from: *const bf16) -> [u32; LANES] {
        unsafe { self.interleave(from, from.add(LANES)) }
    }

    #[inline(always)]
    fn join(self, low: [f32; LANES], high: [f32; LANES]) -> [u32; LANES] {
        let bits = |value: f32| u32::from(<bf16 as Element>::from_f32(value).to_bits());
        std::array::from_fn(|i| bits(low[i]) | bits(high[i]) << 16)
    }

    #[inline(always)]
    fn dot_f32(self, sum: [f32; LANES], a: [u32; LANES], b: [u32; LANES]) -> [f32; LANES] {
        each(|i| f32::from_bits(a[i]) * f32::from_bits(b[i]) + sum[i])
    }

    #[inline(always)]
    fn dot_bf16(self, sum: [f32; LANES], a: [u32; LANES], b: [u32; LANES]) -> [f32; LANES] {
        each(|i| high(a[i]) * high(b[i]) + (low(a[i]) * low(b[i]) + sum[i]))
    }
}
