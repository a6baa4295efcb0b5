//! The matrix product at one position: output channels times input channels, over the tiles.

use crate::cpu::{Number, Simd, LANES};

/// The most vectors of sums of one call.
pub(super) const SUMS: usize = 16;

/// `sums[row][vector] += sum of v[k][row] * z[k][vector]` for `R` rows and `W` vectors.
///
/// # Safety
/// `v` and `z` have `count` runs of words, `v_stride` and `z_stride` apart, the first of `R`, the
/// second of `W` vectors; `sums` has `R` rows of `W` vectors, `sums_stride` numbers apart.
#[inline(always)]
pub(super) unsafe fn outer_product<S: Simd, M: Number, const R: usize, const W: usize>(
    simd: S,
    count: usize,
    (v, v_stride): (*const u32, usize),
    (z, z_stride): (*const u32, usize),
    (sums, sums_stride): (*mut f32, usize),
) {
    let mut total = [[simd.zero(); W]; R];
    for r in 0..R {
        for c in 0..W {
            // SAFETY: the caller's.
            total[r][c] = unsafe { simd.load_f32(sums.add(r * sums_stride + c * LANES)) };
        }
    }
    for k in 0..count {
        // SAFETY: the caller's.
        unsafe {
            let (v, z) = (v.add(k * v_stride), z.add(k * z_stride));
            let mut gradient = [simd.load_words(z); W];
            for c in 1..W {
                gradient[c] = simd.load_words(z.add(c * LANES));
            }
            for r in 0..R {
                let value = simd.broadcast_word(v.add(r));
                for c in 0..W {
                    total[r][c] = M::dot(simd, total[r][c], gradient[c], value);
                }
            }
        }
    }
    for r in 0..R {
        for c in 0..W {
            // SAFETY: the caller's.
            unsafe { simd.store_f32(sums.add(r * sums_stride + c * LANES), total[r][c]) };
        }
    }
}
