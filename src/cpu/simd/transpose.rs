//! The transposition of a matrix of words in registers of AVX-512.

use std::arch::x86_64::*;

use super::LANES;

/// Writes rows of 16 words as columns. Two of the four steps are loads of quarters of rows.
///
/// # Safety
/// The machine has AVX-512; `from` and `to` are 16 rows of 16 words and do not overlap.
#[inline(always)]
pub(super) unsafe fn transposed(from: *const u32, to: *mut u32) {
    for quarter in 0..4 {
        unsafe {
            let from = from.add(quarter * 4);
            let (a, b) = (quarters(from, 0), quarters(from, 1));
            let (c, d) = (quarters(from, 2), quarters(from, 3));
            let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            let to = to.add(quarter * 4 * LANES);
            _mm512_storeu_si512(to.cast(), _mm512_unpacklo_epi64(ab_low, cd_low));
            _mm512_storeu_si512(to.add(LANES).cast(), _mm512_unpackhi_epi64(ab_low, cd_low));
            _mm512_storeu_si512(to.add(2 * LANES).cast(), _mm512_unpacklo_epi64(ab_high, cd_high));
            _mm512_storeu_si512(to.add(3 * LANES).cast(), _mm512_unpackhi_epi64(ab_high, cd_high));
        }
    }
}

/// Four words of each of the rows `row`, `4 + row`, `8 + row` and `12 + row`.
#[inline(always)]
unsafe fn quarters(from: *const u32, row: usize) -> __m512i {
    unsafe {
        let from = from.add(row * LANES);
        let first = _mm512_castsi128_si512(_mm_loadu_si128(from.cast()));
        let second = _mm_loadu_si128(from.add(4 * LANES).cast());
        let third = _mm_loadu_si128(from.add(8 * LANES).cast());
        let fourth = _mm_loadu_si128(from.add(12 * LANES).cast());
        let both = _mm512_inserti32x4::<1>(first, second);
        let three = _mm512_inserti32x4::<2>(both, third);
        _mm512_inserti32x4::<3>(three, fourth)
    }
}
