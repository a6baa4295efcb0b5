//! 16 lanes in one register of AVX-512.

use std::arch::x86_64::*;

use half::bf16;

use super::transpose::transposed;
use super::{Simd, LANES};

/// `BF16`: the machine multiplies pairs of bf16 in one instruction.
#[derive(Clone, Copy)]
pub struct Avx512<const BF16: bool>;

// SAFETY of all `unsafe` blocks below: the machine has the instructions, because only `dispatch`
// makes an `Avx512`; the caller passes pointers to as many elements as the trait's method accesses.
impl<const BF16: bool> Simd for Avx512<BF16> {
    type F = __m512;
    type W = __m512i;

    const SUMS: usize = 28;

    #[inline(always)]
    fn zero(self) -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn where_le(self, a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        unsafe { _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b), yes) }
    }

    #[inline(always)]
    fn round_bf16(self, value: __m512) -> __m512 {
        unsafe {
            let halves = Self::halves(value);
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn times_power(self, value: __m512, power: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(value, power) }
    }

    #[inline(always)]
    unsafe fn load_f32(self, from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_f32(self, to: *mut f32, value: __m512) {
        unsafe { _mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const bf16) -> __m512 {
        unsafe {
            let halves = _mm256_loadu_si256(from.cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16, value: __m512) {
        unsafe {
            _mm256_storeu_si256(to.cast(), Self::halves(value));
        }
    }

    #[inline(always)]
    unsafe fn store_bf16_line(self, to: *mut bf16, low: __m512, high: __m512) {
        unsafe {
            if BF16 {
                let both = _mm512_cvtne2ps_pbh(high, low);
                let both = std::mem::transmute::<__m512bh, __m512i>(both);
                return _mm512_storeu_si512(to.cast(), both);
            }
            self.store_bf16(to, low);
            self.store_bf16(to.add(LANES), high);
        }
    }

    #[inline(always)]
    unsafe fn load_first_f32(self, from: *const f32, count: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(first(count), from) }
    }

    #[inline(always)]
    unsafe fn store_first_f32(self, to: *mut f32, value: __m512, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first(count), value) }
    }

    #[inline(always)]
    unsafe fn load_first_bf16(self, from: *const bf16, count: usize) -> __m512 {
        unsafe {
            let halves = _mm256_maskz_loadu_epi16(first(count), from.cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        }
    }

    #[inline(always)]
    unsafe fn store_first_bf16(self, to: *mut bf16, value: __m512, count: usize) {
        unsafe { _mm256_mask_storeu_epi16(to.cast(), first(count), Self::halves(value)) }
    }

    #[inline(always)]
    unsafe fn load_words(self, from: *const u32) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store_words(self, to: *mut u32, value: __m512i) {
        unsafe { _mm512_storeu_si512(to.cast(), value) }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const u32, to: *mut u32) {
        unsafe { transposed(from, to) }
    }

    #[inline(always)]
    unsafe fn broadcast_word(self, from: *const u32) -> __m512i {
        unsafe { _mm512_set1_epi32(from.read_unaligned() as i32) }
    }

    #[inline(always)]
    unsafe fn interleave(self, low: *const bf16, high: *const bf16) -> __m512i {
        unsafe {
            let low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(low.cast()));
            let high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(high.cast()));
            _mm512_or_si512(low, _mm512_slli_epi32::<16>(high))
        }
    }

    #[inline(always)]
    unsafe fn interleave_next(self, from: *const bf16) -> __m512i {
        unsafe { _mm512_permutexvar_epi16(interleaving(), _mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    fn join(self, low: __m512, high: __m512) -> __m512i {
        unsafe {
            if BF16 {
                let both = _mm512_cvtne2ps_pbh(high, low);
                let both = std::mem::transmute::<__m512bh, __m512i>(both);
                return _mm512_permutexvar_epi16(interleaving(), both);
            }
            let low = _mm512_cvtepu16_epi32(rounded(low));
            let high = _mm512_cvtepu16_epi32(rounded(high));
            _mm512_or_si512(low, _mm512_slli_epi32::<16>(high))
        }
    }

    #[inline(always)]
    fn dot_f32(self, sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        unsafe { _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum) }
    }

    #[inline(always)]
    fn dot_bf16(self, sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        unsafe {
            if BF16 {
                let pairs = |words| std::mem::transmute::<__m512i, __m512bh>(words);
                return _mm512_dpbf16_ps(sum, pairs(a), pairs(b));
            }
            let low = |words| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words));
            let mask = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            let high = |words| _mm512_castsi512_ps(_mm512_and_si512(words, mask));
            _mm512_fmadd_ps(high(a), high(b), _mm512_fmadd_ps(low(a), low(b), sum))
        }
    }
}

impl<const BF16: bool> Avx512<BF16> {
    /// Nearest bf16.
    #[inline(always)]
    unsafe fn halves(value: __m512) -> __m256i {
        unsafe {
            match BF16 {
                true => std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(value)),
                false => rounded(value),
            }
        }
    }
}

/// The mask of the first `count` lanes.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    debug_assert!(count <= LANES);
    ((1u32 << count) - 1) as __mmask16
}

/// The source of each of 32 halves when two runs of 16 are interleaved.
#[inline(always)]
unsafe fn interleaving() -> __m512i {
    const FROM: [u16; 32] = {
        let mut from = [0; 32];
        let mut i = 0;
        while i < 32 {
            from[i] = (i / 2 + i % 2 * 16) as u16;
            i += 1;
        }
        from
    };
    unsafe { _mm512_loadu_si512(FROM.as_ptr().cast()) }
}

/// Nearest bf16, ties to even; a NaN stays one.
#[inline(always)]
unsafe fn rounded(value: __m512) -> __m256i {
    unsafe {
        let bits = _mm512_castps_si512(value);
        let upper = _mm512_srli_epi32::<16>(bits);
        let odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
        let bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
        let nearest = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, bias));
        let quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
        _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(nearest, nan, quiet))
    }
}
