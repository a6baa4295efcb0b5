//! The matrix product at one position: tiles times output channels, over the input channels.

use super::super::rows::words;
use crate::cpu::{Number, Simd, LANES};

/// Tiles of one call with two vectors of output channels. With one vector there may be twice as
/// many.
pub(super) const TILES: usize = 8;

/// The most vectors of sums of one call.
pub(super) const SUMS: usize = 2 * TILES;

/// `m[tile][vector] = sum of v[group][tile][word] * u[vector][group][word]` for `N` tiles and
/// `W` vectors of output channels.
/// Returns `N`.
///
/// # Safety
/// `v` has `groups` groups, `v_stride` words apart, of `N` times `words` words; `u` has `W`
/// vectors, `u_stride` words apart, of `groups * words` times 16 words; `m` has `W` vectors for
/// each tile, `m_stride` vectors apart.
#[inline(always)]
pub(super) unsafe fn product<S: Simd, M: Number, const N: usize, const W: usize>(
    simd: S,
    groups: usize,
    (v, v_stride): (*const u32, usize),
    (u, u_stride): (*const u32, usize),
    (m, m_stride): (*mut f32, usize),
) -> usize {
    let words = words::<M>();
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
                        sums[t][c] = M::dot(simd, sums[t][c], weight[c], value);
                    }
                }
            }
        }
    }
    for t in 0..N {
        for c in 0..W {
            // SAFETY: the caller's.
            unsafe { simd.store_f32(m.add((t * m_stride + c) * LANES), sums[t][c]) };
        }
    }
    N
}
