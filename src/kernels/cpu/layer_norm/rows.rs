//! Vectors of rows, and sums across lanes.

use crate::cpu::{Number, Simd, LANES};

/// The lane sums of sixteen rows, one row after the other.
pub(super) type Square = [f32; LANES * LANES];

/// The elements of a row from `at` on, and zeros after its end.
#[inline(always)]
pub(super) fn load<S: Simd, T: Number>(simd: S, row: &[T], at: usize) -> S::F {
    let rest = &row[at..];
    // SAFETY: as many elements as are left are read.
    unsafe {
        match rest.len() >= LANES {
            true => T::load(simd, rest.as_ptr()),
            false => T::load_first(simd, rest.as_ptr(), rest.len()),
        }
    }
}

/// As [`load`], with `otherwise` in all lanes if there is no row.
#[inline(always)]
pub(super) fn load_or<S: Simd>(simd: S, row: Option<&[f32]>, at: usize, otherwise: f32) -> S::F {
    match row {
        Some(row) => load(simd, row, at),
        None => simd.splat(otherwise),
    }
}

/// Writes the elements of a row from `at` on.
#[inline(always)]
pub(super) fn store<S: Simd, T: Number>(simd: S, row: &mut [T], at: usize, value: S::F) {
    let rest = &mut row[at..];
    // SAFETY: as many elements as are left are written.
    unsafe {
        match rest.len() >= LANES {
            true => T::store(simd, rest.as_mut_ptr(), value),
            false => T::store_first(simd, rest.as_mut_ptr(), value, rest.len()),
        }
    }
}

/// Lane `i` becomes the sum of row `i` of the square.
#[inline(always)]
pub(super) fn sums<S: Simd>(simd: S, square: &Square) -> S::F {
    let mut turned: Square = [0.0; LANES * LANES];
    // SAFETY: both are 16 rows of 16 words.
    unsafe {
        simd.transpose(square.as_ptr().cast(), turned.as_mut_ptr().cast());
        let start = turned.as_ptr();
        let mut parts = [simd.zero(); 4];
        for row in (0..LANES).step_by(4) {
            for (i, part) in parts.iter_mut().enumerate() {
                *part = simd.add(*part, simd.load_f32(start.add((row + i) * LANES)));
            }
        }
        simd.add(simd.add(parts[0], parts[1]), simd.add(parts[2], parts[3]))
    }
}
