//! A tile of the gradient: the sums that are kept in registers while all pixels go by.

use super::layout::LANES;
use crate::kernels::cpu::simd::{Number, Simd};

/// The pixels to go through: images of rows of steps. Strides are in words.
#[derive(Clone, Copy)]
pub(super) struct Walk {
    pub images: usize,
    pub rows: usize,
    pub steps: usize,
    pub x_image: usize,
    pub x_row: usize,
    pub x_step: usize,
    pub y_image: usize,
    pub y_row: usize,
}

/// `sums[v][b]` over all steps of `x[offsets[v]..]` times word `b` of `grad_y`.
///
/// # Safety
/// All words on the way are there.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd, T: Number, const V: usize, const B: usize>(
    simd: S,
    walk: &Walk,
    x: *const u32,
    offsets: [usize; V],
    grad_y: *const u32,
) -> [[S::F; B]; V] {
    let mut sums = [[simd.zero(); B]; V];
    let (mut x_image, mut y_image) = (x, grad_y);
    for _ in 0..walk.images {
        let (mut x_row, mut y_row) = (x_image, y_image);
        for _ in 0..walk.rows {
            let (mut x, mut y) = (x_row, y_row);
            for _ in 0..walk.steps {
                // SAFETY: as promised.
                unsafe {
                    let mut vectors = [simd.load_words(x.wrapping_add(offsets[0])); V];
                    for v in 1..V {
                        vectors[v] = simd.load_words(x.wrapping_add(offsets[v]));
                    }
                    for b in 0..B {
                        let word = simd.broadcast_word(y.wrapping_add(b));
                        for v in 0..V {
                            sums[v][b] = T::dot(simd, sums[v][b], vectors[v], word);
                        }
                    }
                }
                (x, y) = (x.wrapping_add(walk.x_step), y.wrapping_add(LANES));
            }
            (x_row, y_row) = (x_row.wrapping_add(walk.x_row), y_row.wrapping_add(walk.y_row));
        }
        x_image = x_image.wrapping_add(walk.x_image);
        y_image = y_image.wrapping_add(walk.y_image);
    }
    sums
}

/// Where a tile's sums go: `lanes[v]` of `sums[v][b]` to `offsets[v] + b * row`, for `b < rows`.
pub(super) struct Target<const V: usize> {
    pub offsets: [usize; V],
    pub lanes: [usize; V],
    pub row: usize,
    pub rows: usize,
    /// Overwrite what is there instead of adding to it.
    pub first: bool,
}

impl<const V: usize> Target<V> {
    /// # Panics
    /// `to` ends before the last sum.
    #[inline(always)]
    pub(super) fn write<S: Simd, const B: usize>(
        &self,
        simd: S,
        sums: &[[S::F; B]; V],
        to: &mut [f32],
    ) {
        for v in 0..V {
            for b in 0..B {
                if b < self.rows {
                    let start = self.offsets[v] + b * self.row;
                    let to = &mut to[start..start + self.lanes[v]];
                    put(simd, sums[v][b], to, self.first);
                }
            }
        }
    }
}

#[inline(always)]
fn put<S: Simd>(simd: S, value: S::F, to: &mut [f32], first: bool) {
    // SAFETY: `to` has all lanes, or an array has.
    unsafe {
        if to.len() == LANES {
            let at = to.as_mut_ptr();
            simd.store_f32(at, if first { value } else { simd.add(simd.load_f32(at), value) });
            return;
        }
        let mut lanes = [0.0; LANES];
        simd.store_f32(lanes.as_mut_ptr(), value);
        for (to, lane) in to.iter_mut().zip(lanes) {
            *to = if first { lane } else { *to + lane };
        }
    }
}
