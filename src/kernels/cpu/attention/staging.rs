//! Vectors of a head as rows or columns of a matrix of f32 in scratch memory, and back.

use super::block::Layout;
use super::shape::Rows;
use crate::cpu::{Number, Simd, LANES};

/// Copies rows `first..first + count` into rows of f32, filled up with zeros to whole vectors.
#[inline(always)]
pub(super) fn read<S: Simd, T: Number>(
    simd: S,
    from: Rows<'_, T>,
    first: usize,
    count: usize,
    features: usize,
    to: &mut [f32],
    stride: usize,
) {
    let padded = features.next_multiple_of(LANES);
    for (row, to) in (first..first + count).zip(to.chunks_exact_mut(stride)) {
        let from = &from.data[row * from.stride..][..features];
        for at in (0..padded).step_by(LANES) {
            let rest = &from[at..];
            let to = &mut to[at..at + LANES];
            // SAFETY: as many elements as are left can be read, and a vector written.
            unsafe {
                let vector = match rest.len() >= LANES {
                    true => T::load(simd, rest.as_ptr()),
                    false => T::load_first(simd, rest.as_ptr(), rest.len()),
                };
                simd.store_f32(to.as_mut_ptr(), vector);
            }
        }
    }
}

/// Rows of a matrix of f32 in scratch memory, `stride` elements apart.
#[derive(Clone, Copy)]
pub(super) struct Staged<'a> {
    pub rows: &'a [f32],
    pub stride: usize,
}

/// Writes rows, each times its factor, to rows that start at `to`.
///
/// # Safety
/// A row for each factor, `to_stride` elements apart, of `features` elements can be written.
#[inline(always)]
pub(super) unsafe fn write<S: Simd, T: Number>(
    simd: S,
    from: Staged<'_>,
    factors: &[f32],
    features: usize,
    to: *mut T,
    to_stride: usize,
) {
    for (row, factor) in factors.iter().enumerate() {
        let from = &from.rows[row * from.stride..];
        let factor = simd.splat(*factor);
        for at in (0..features).step_by(LANES) {
            // SAFETY: rows are filled up to whole vectors; the rest is the caller's.
            unsafe {
                let vector = simd.mul(simd.load_f32(from[at..at + LANES].as_ptr()), factor);
                let to = to.add(row * to_stride + at);
                match features - at {
                    rest if rest >= LANES => T::store(simd, to, vector),
                    rest => T::store_first(simd, to, vector, rest),
                }
            }
        }
    }
}

/// Writes the first `rows` rows of a matrix as columns of another one, and after them columns of
/// zeros.
#[inline(always)]
pub(super) fn transpose<S: Simd>(
    simd: S,
    from: &[f32],
    from_layout: Layout,
    rows: usize,
    to: &mut [f32],
    to_layout: Layout,
) {
    let (mut square, mut turned) = ([0.0; LANES * LANES], [0.0; LANES * LANES]);
    for row in (0..to_layout.columns).step_by(LANES) {
        let count = rows.saturating_sub(row).min(LANES);
        for column in (0..from_layout.columns).step_by(LANES) {
            square[count * LANES..].fill(0.0);
            for i in 0..count {
                let from = &from[(row + i) * from_layout.stride + column..][..LANES];
                square[i * LANES..][..LANES].copy_from_slice(from);
            }
            // SAFETY: both are 16 rows of 16 words.
            unsafe { simd.transpose(square.as_ptr().cast(), turned.as_mut_ptr().cast()) };
            for i in 0..LANES {
                let to = &mut to[(column + i) * to_layout.stride + row..][..LANES];
                to.copy_from_slice(&turned[i * LANES..][..LANES]);
            }
        }
    }
}
