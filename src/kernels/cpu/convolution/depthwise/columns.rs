//! Loads and stores of 16 channels of a pixel, at the borders of the image and for fewer channels.

use crate::cpu::{Number, Simd, LANES};

/// 16 zeros, which are read where the image has no column.
pub(super) fn zeros<T: Number>() -> [T; LANES] {
    [T::from_f32(0.0); LANES]
}

/// Loads the vector of a column. With `EDGE`, columns outside the image are zero.
///
/// # Safety
/// The row has `columns` columns of `pixel` elements, and `column` is one of them unless `EDGE`.
#[inline(always)]
pub(super) unsafe fn column<S: Simd, T: Number, const EDGE: bool>(
    simd: S,
    row: *const T,
    column: isize,
    columns: usize,
    pixel: usize,
    zeros: &[T; LANES],
) -> S::F {
    let there = row.wrapping_offset(column * pixel as isize);
    // One comparison is enough, since a negative column is a huge unsigned one.
    let outside = EDGE && column as usize >= columns;
    debug_assert!(EDGE || (column as usize) < columns);
    unsafe { T::load(simd, if outside { zeros.as_ptr() } else { there }) }
}

/// Whether column `i` of a tile of `X` outputs may lie outside the image, along a plain axis.
#[inline(always)]
pub(super) const fn rim<const KW: usize, const STEP: usize, const X: usize>(i: usize) -> bool {
    i + 1 < KW || i + 2 * STEP > X * STEP
}

/// Loads the first `lanes` of a vector and fills up with zeros.
///
/// # Safety
/// `from` has `lanes` elements.
#[inline(always)]
pub(super) unsafe fn load_lanes<S: Simd, T: Number>(simd: S, from: *const T, lanes: usize) -> S::F {
    unsafe {
        if lanes == LANES {
            return T::load(simd, from);
        }
        let mut all = zeros::<T>();
        for (lane, value) in all.iter_mut().enumerate().take(lanes) {
            *value = from.add(lane).read();
        }
        T::load(simd, all.as_ptr())
    }
}

/// Stores the first `lanes` of a vector.
///
/// # Safety
/// `to` has `lanes` elements.
#[inline(always)]
pub(super) unsafe fn store_lanes<S: Simd, T: Number>(
    simd: S,
    to: *mut T,
    value: S::F,
    lanes: usize,
) {
    unsafe {
        if lanes == LANES {
            return T::store(simd, to, value);
        }
        let mut all = zeros::<T>();
        T::store(simd, all.as_mut_ptr(), value);
        for (lane, value) in all.into_iter().enumerate().take(lanes) {
            to.add(lane).write(value);
        }
    }
}
