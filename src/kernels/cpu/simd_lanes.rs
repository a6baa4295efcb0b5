//! Sixteen lanes as an array: correct everywhere, and vectorized by the compiler where it may use
//! AVX2.

use half::bf16;

use super::Simd;
use crate::kernels::cpu::Element;

/// `FMA`: the machine multiplies and adds in one instruction.
#[derive(Clone, Copy)]
pub struct Lanes<const FMA: bool>;

#[inline(always)]
fn each(value: impl Fn(usize) -> f32) -> [f32; 16] {
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

impl<const FMA: bool> Lanes<FMA> {
    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        // Without the instruction `mul_add` would be a call into libm.
        if FMA {
            a.mul_add(b, c)
        } else {
            a * b + c
        }
    }
}

impl<const FMA: bool> Simd for Lanes<FMA> {
    type F = [f32; 16];
    type W = [u32; 16];

    // Two of sixteen registers of eight lanes each.
    const SUMS: usize = 6;

    #[inline(always)]
    fn zero(self) -> [f32; 16] {
        [0.0; 16]
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 16] {
        [value; 16]
    }

    #[inline(always)]
    fn add(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn max(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn where_le(self, a: [f32; 16], b: [f32; 16], yes: [f32; 16], no: [f32; 16]) -> [f32; 16] {
        each(|i| if a[i] <= b[i] { yes[i] } else { no[i] })
    }

    #[inline(always)]
    fn round_bf16(self, value: [f32; 16]) -> [f32; 16] {
        each(|i| Element::to_f32(<bf16 as Element>::from_f32(value[i])))
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        each(|i| Self::fused(a[i], b[i], c[i]))
    }

    #[inline(always)]
    unsafe fn load_f32(self, from: *const f32) -> [f32; 16] {
        unsafe { from.cast::<[f32; 16]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_f32(self, to: *mut f32, value: [f32; 16]) {
        unsafe { to.cast::<[f32; 16]>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const bf16) -> [f32; 16] {
        let values = unsafe { from.cast::<[bf16; 16]>().read_unaligned() };
        each(|i| Element::to_f32(values[i]))
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16, value: [f32; 16]) {
        let values: [bf16; 16] = std::array::from_fn(|i| Element::from_f32(value[i]));
        unsafe { to.cast::<[bf16; 16]>().write_unaligned(values) }
    }

    #[inline(always)]
    unsafe fn load_first_f32(self, from: *const f32, count: usize) -> [f32; 16] {
        each(|i| if i < count { unsafe { from.add(i).read() } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store_first_f32(self, to: *mut f32, value: [f32; 16], count: usize) {
        unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), to, count) }
    }

    #[inline(always)]
    unsafe fn load_first_bf16(self, from: *const bf16, count: usize) -> [f32; 16] {
        each(|i| if i < count { Element::to_f32(unsafe { from.add(i).read() }) } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store_first_bf16(self, to: *mut bf16, value: [f32; 16], count: usize) {
        let values: [bf16; 16] = std::array::from_fn(|i| Element::from_f32(value[i]));
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), to, count) }
    }

    #[inline(always)]
    unsafe fn load_words(self, from: *const u32) -> [u32; 16] {
        unsafe { from.cast::<[u32; 16]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_words(self, to: *mut u32, value: [u32; 16]) {
        unsafe { to.cast::<[u32; 16]>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn broadcast_word(self, from: *const u32) -> [u32; 16] {
        [unsafe { from.read_unaligned() }; 16]
    }

    #[inline(always)]
    unsafe fn interleave(self, low: *const bf16, high: *const bf16) -> [u32; 16] {
        let low = unsafe { low.cast::<[u16; 16]>().read_unaligned() };
        let high = unsafe { high.cast::<[u16; 16]>().read_unaligned() };
        std::array::from_fn(|i| u32::from(low[i]) | u32::from(high[i]) << 16)
    }

    #[inline(always)]
    fn join(self, low: [f32; 16], high: [f32; 16]) -> [u32; 16] {
        let bits = |value: f32| u32::from(<bf16 as Element>::from_f32(value).to_bits());
        std::array::from_fn(|i| bits(low[i]) | bits(high[i]) << 16)
    }

    #[inline(always)]
    fn dot_f32(self, sum: [f32; 16], a: [u32; 16], b: [u32; 16]) -> [f32; 16] {
        each(|i| Self::fused(f32::from_bits(a[i]), f32::from_bits(b[i]), sum[i]))
    }

    #[inline(always)]
    fn dot_bf16(self, sum: [f32; 16], a: [u32; 16], b: [u32; 16]) -> [f32; 16] {
        each(|i| Self::fused(high(a[i]), high(b[i]), Self::fused(low(a[i]), low(b[i]), sum[i])))
    }
}
