//! The matrix products at one position.

use super::LANES;
use crate::kernels::cpu::simd::{Number, Simd};

/// Tiles of one call with two vectors of output channels; with one it may be twice as many.
pub(super) const TILES: usize = 8;

/// Words of sixteen channels.
pub(super) const fn words<T: Number>() -> usize {
    LANES / T::PER_WORD
}

/// `m[tile][vector] = sum of v[group][tile][word] * u[vector][group][word]` for `N` tiles and
/// `W` vectors of output channels.
///
/// # Safety
/// `v` has `groups` groups, `v_stride` words apart, of `N` times `words` words; `u` has `W`
/// vectors, `u_stride` words apart, of `groups * words` times sixteen words; `m` has `N * W`
/// vectors.
#[inline(always)]
pub(super) unsafe fn product<S: Simd, T: Number, const N: usize, const W: usize>(
    simd: S,
    groups: usize,
    (v, v_stride): (*const u32, usize),
    (u, u_stride): (*const u32, usize),
    m: *mut f32,
) {
    let words = words::<T>();
    let mut sums = [[simd.zero(); W]; N];
    for group in 0..groups {
        // SAFETY: the caller's.
        unsafe {
            let v = v.add(group * v_stride);
            let u = u.add(group * words * LANES);
            for k in 0..words {
                let mut weight = [simd.load_words(u.add(k * LANES)); W];
                for c in 1..W {
                    weight[c] = simd.load_words(u.add(c * u_stride + k * LANES));
                }
                for t in 0..N {
                    let value = simd.broadcast_word(v.add(t * words + k));
                    for c in 0..W {
                        sums[t][c] = T::dot(simd, sums[t][c], weight[c], value);
                    }
                }
            }
        }
    }
    for t in 0..N {
        for c in 0..W {
            // SAFETY: the caller's.
            unsafe { simd.store_f32(m.add((t * W + c) * LANES), sums[t][c]) };
        }
    }
}

/// `sums[row][vector] += sum of v[k][row] * z[k][vector]` for `R` rows and `W` vectors.
///
/// # Safety
/// `v` and `z` have `count` runs of words, `v_stride` and `z_stride` apart, the first of `R`, the
/// second of `W` vectors; `sums` has `R` rows of `W` vectors, `sums_stride` numbers apart.
#[inline(always)]
pub(super) unsafe fn outer_product<S: Simd, T: Number, const R: usize, const W: usize>(
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
                    total[r][c] = T::dot(simd, total[r][c], gradient[c], value);
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
