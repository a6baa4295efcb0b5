//! 16 lanes in two registers of AVX2.

use std::arch::x86_64::*;

use half::bf16;

use super::{Simd, LANES};

/// Lanes of a register.
const HALF: usize = LANES / 2;

#[derive(Clone, Copy)]
pub struct Avx2;

// SAFETY of all `unsafe` blocks below: the machine has the instructions, because only `dispatch`
// makes an `Avx2`; the caller passes pointers to as many elements as the trait's method accesses.
impl Simd for Avx2 {
    type F = [__m256; 2];
    type W = [__m256i; 2];

    // Twelve of the sixteen registers.
    const SUMS: usize = 6;

    #[inline(always)]
    fn zero(self) -> [__m256; 2] {
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [__m256; 2] {
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    fn add(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn sub(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn max(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn min(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn where_le(
        self,
        a: [__m256; 2],
        b: [__m256; 2],
        yes: [__m256; 2],
        no: [__m256; 2],
    ) -> [__m256; 2] {
        unsafe {
            let low = _mm256_cmp_ps::<_CMP_LE_OQ>(a[0], b[0]);
            let high = _mm256_cmp_ps::<_CMP_LE_OQ>(a[1], b[1]);
            [_mm256_blendv_ps(no[0], yes[0], low), _mm256_blendv_ps(no[1], yes[1], high)]
        }
    }

    #[inline(always)]
    fn round_bf16(self, value: [__m256; 2]) -> [__m256; 2] {
        unsafe { [upper(rounded(value[0])), upper(rounded(value[1]))] }
    }

    #[inline(always)]
    fn mul_add(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    fn times_power(self, value: [__m256; 2], power: [__m256; 2]) -> [__m256; 2] {
        unsafe { [scaled(value[0], power[0]), scaled(value[1], power[1])] }
    }

    #[inline(always)]
    unsafe fn load_f32(self, from: *const f32) -> [__m256; 2] {
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(HALF))] }
    }

    #[inline(always)]
    unsafe fn store_f32(self, to: *mut f32, value: [__m256; 2]) {
        unsafe {
            _mm256_storeu_ps(to, value[0]);
            _mm256_storeu_ps(to.add(HALF), value[1]);
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const bf16) -> [__m256; 2] {
        unsafe { [widened(from), widened(from.add(HALF))] }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16, value: [__m256; 2]) {
        unsafe { _mm256_storeu_si256(to.cast(), halves(value)) }
    }

    #[inline(always)]
    unsafe fn load_first_f32(self, from: *const f32, count: usize) -> [__m256; 2] {
        let [low, high] = first(count);
        let rest = from.wrapping_add(HALF);
        unsafe { [_mm256_maskload_ps(from, low), _mm256_maskload_ps(rest, high)] }
    }

    #[inline(always)]
    unsafe fn store_first_f32(self, to: *mut f32, value: [__m256; 2], count: usize) {
        let [low, high] = first(count);
        unsafe {
            _mm256_maskstore_ps(to, low, value[0]);
            _mm256_maskstore_ps(to.wrapping_add(HALF), high, value[1]);
        }
    }

    // There are no masks for halves of words. Most numbers of channels are multiples of 8.
    #[inline(always)]
    unsafe fn load_first_bf16(self, from: *const bf16, count: usize) -> [__m256; 2] {
        unsafe {
            match count {
                LANES => self.load_bf16(from),
                HALF => [widened(from), _mm256_setzero_ps()],
                _ => {
                    let mut all = [bf16::ZERO; LANES];
                    std::ptr::copy_nonoverlapping(from, all.as_mut_ptr(), count);
                    self.load_bf16(all.as_ptr())
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn store_first_bf16(self, to: *mut bf16, value: [__m256; 2], count: usize) {
        unsafe {
            match count {
                LANES => self.store_bf16(to, value),
                HALF => _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(halves(value))),
                _ => {
                    let mut all = [bf16::ZERO; LANES];
                    self.store_bf16(all.as_mut_ptr(), value);
                    std::ptr::copy_nonoverlapping(all.as_ptr(), to, count);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn load_words(self, from: *const u32) -> [__m256i; 2] {
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(HALF).cast())] }
    }

    #[inline(always)]
    unsafe fn store_words(self, to: *mut u32, value: [__m256i; 2]) {
        unsafe {
            _mm256_storeu_si256(to.cast(), value[0]);
            _mm256_storeu_si256(to.add(HALF).cast(), value[1]);
        }
    }

    #[inline(always)]
    unsafe fn transpose(self, from: *const u32, to: *mut u32) {
        for i in 0..LANES / 4 {
            for j in 0..LANES / HALF {
                unsafe {
                    let (row, column) = (j * HALF, i * 4);
                    columns(from.add(row * LANES + column), to.add(column * LANES + row));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn broadcast_word(self, from: *const u32) -> [__m256i; 2] {
        unsafe { [_mm256_set1_epi32(from.read_unaligned() as i32); 2] }
    }

    #[inline(always)]
    unsafe fn interleave(self, low: *const bf16, high: *const bf16) -> [__m256i; 2] {
        unsafe { [paired(low, high), paired(low.add(HALF), high.add(HALF))] }
    }

    #[inline(always)]
    unsafe fn interleave_next(self, from: *const bf16) -> [__m256i; 2] {
        unsafe { self.interleave(from, from.add(LANES)) }
    }

    #[inline(always)]
    fn join(self, low: [__m256; 2], high: [__m256; 2]) -> [__m256i; 2] {
        unsafe { [joined(low[0], high[0]), joined(low[1], high[1])] }
    }

    #[inline(always)]
    fn dot_f32(self, sum: [__m256; 2], a: [__m256i; 2], b: [__m256i; 2]) -> [__m256; 2] {
        unsafe {
            [
                _mm256_fmadd_ps(_mm256_castsi256_ps(a[0]), _mm256_castsi256_ps(b[0]), sum[0]),
                _mm256_fmadd_ps(_mm256_castsi256_ps(a[1]), _mm256_castsi256_ps(b[1]), sum[1]),
            ]
        }
    }

    #[inline(always)]
    fn dot_bf16(self, sum: [__m256; 2], a: [__m256i; 2], b: [__m256i; 2]) -> [__m256; 2] {
        unsafe { [pairs(sum[0], a[0], b[0]), pairs(sum[1], a[1], b[1])] }
    }
}

/// `value * 2^power`, for whole powers from -126 to 127.
#[inline(always)]
unsafe fn scaled(value: __m256, power: __m256) -> __m256 {
    unsafe {
        let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(power), _mm256_set1_epi32(127));
        _mm256_mul_ps(value, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
    }
}

/// The masks of the first `count` lanes.
#[inline(always)]
fn first(count: usize) -> [__m256i; 2] {
    const MASKS: [i32; 2 * LANES] = {
        let mut masks = [0; 2 * LANES];
        let mut lane = 0;
        while lane < LANES {
            masks[lane] = -1;
            lane += 1;
        }
        masks
    };
    debug_assert!(count <= LANES);
    // SAFETY: 16 masks begin there.
    unsafe {
        let from = MASKS.as_ptr().add(LANES - count);
        [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(HALF).cast())]
    }
}

/// Eight bf16 as f32.
#[inline(always)]
unsafe fn widened(from: *const bf16) -> __m256 {
    unsafe { upper(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()))) }
}

/// The numbers whose upper halves are the lower halves of words.
#[inline(always)]
unsafe fn upper(words: __m256i) -> __m256 {
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)) }
}

/// Nearest bf16 in the lower half of each word, ties to even; a NaN stays one.
#[inline(always)]
unsafe fn rounded(value: __m256) -> __m256i {
    unsafe {
        let bits = _mm256_castps_si256(value);
        let upper = _mm256_srli_epi32::<16>(bits);
        let odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
        let bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
        let nearest = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, bias));
        let quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(value, value));
        _mm256_blendv_epi8(nearest, quiet, nan)
    }
}

/// Nearest bf16 of 16 lanes.
#[inline(always)]
unsafe fn halves(value: [__m256; 2]) -> __m256i {
    unsafe {
        let packed = _mm256_packus_epi32(rounded(value[0]), rounded(value[1]));
        _mm256_permute4x64_epi64::<0b11_01_10_00>(packed)
    }
}

/// Words whose halves are the nearest bf16 of two vectors.
#[inline(always)]
unsafe fn joined(low: __m256, high: __m256) -> __m256i {
    unsafe { _mm256_or_si256(rounded(low), _mm256_slli_epi32::<16>(rounded(high))) }
}

/// Words whose halves are `low[i]` and `high[i]`.
#[inline(always)]
unsafe fn paired(low: *const bf16, high: *const bf16) -> __m256i {
    unsafe {
        let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(low.cast()));
        let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(high.cast()));
        _mm256_or_si256(low, _mm256_slli_epi32::<16>(high))
    }
}

/// `sum + a.low * b.low + a.high * b.high`
#[inline(always)]
unsafe fn pairs(sum: __m256, a: __m256i, b: __m256i) -> __m256 {
    unsafe {
        let mask = _mm256_set1_epi32(0xffff_0000_u32 as i32);
        let high_a = _mm256_castsi256_ps(_mm256_and_si256(a, mask));
        let high_b = _mm256_castsi256_ps(_mm256_and_si256(b, mask));
        _mm256_fmadd_ps(high_a, high_b, _mm256_fmadd_ps(upper(a), upper(b), sum))
    }
}

/// Writes four columns of eight rows as rows, where rows are 16 words long.
#[inline(always)]
unsafe fn columns(from: *const u32, to: *mut u32) {
    unsafe {
        let (a, b) = (rows(from, 0), rows(from, 1));
        let (c, d) = (rows(from, 2), rows(from, 3));
        let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        _mm256_storeu_si256(to.cast(), _mm256_unpacklo_epi64(ab_low, cd_low));
        _mm256_storeu_si256(to.add(LANES).cast(), _mm256_unpackhi_epi64(ab_low, cd_low));
        _mm256_storeu_si256(to.add(2 * LANES).cast(), _mm256_unpacklo_epi64(ab_high, cd_high));
        _mm256_storeu_si256(to.add(3 * LANES).cast(), _mm256_unpackhi_epi64(ab_high, cd_high));
    }
}

/// Four words of each of the rows `row` and `4 + row`.
#[inline(always)]
unsafe fn rows(from: *const u32, row: usize) -> __m256i {
    unsafe {
        let low = _mm_loadu_si128(from.add(row * LANES).cast());
        let high = _mm_loadu_si128(from.add((row + 4) * LANES).cast());
        _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high)
    }
}
