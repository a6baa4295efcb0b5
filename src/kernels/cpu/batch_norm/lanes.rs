//! Windows of lanes, which the inner loops keep in registers.

use crate::cpu::{Number, Simd, LANES};
use std::ops::Range;

/// Lanes of the widest window.
pub(super) const WINDOW: usize = 64;

/// A window of `rows` rows of `V` vectors. The first row starts at element `at`; rows are `stride`
/// elements apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub at: usize,
    pub stride: usize,
    pub rows: usize,
}

impl Window {
    /// The index after the last element.
    pub(super) fn end<const V: usize>(self) -> usize {
        match self.rows {
            0 => self.at,
            rows => self.at + (rows - 1) * self.stride + V * LANES,
        }
    }

    /// Consecutive windows of at most `rows` rows.
    #[inline(always)]
    pub(super) fn blocks(self, rows: usize) -> impl Iterator<Item = Window> {
        (0..self.rows).step_by(rows).map(move |from| Window {
            at: self.at + from * self.stride,
            rows: rows.min(self.rows - from),
            ..self
        })
    }
}

/// # Safety
/// Reads `V` vectors of elements.
#[inline(always)]
pub(super) unsafe fn load<S: Simd, T: Number, const V: usize>(
    simd: S,
    from: *const T,
) -> [S::F; V] {
    let mut values = [simd.zero(); V];
    for (i, value) in values.iter_mut().enumerate() {
        // SAFETY: the caller's.
        *value = unsafe { T::load(simd, from.add(i * LANES)) };
    }
    values
}

/// # Safety
/// Writes `V` vectors of elements.
#[inline(always)]
pub(super) unsafe fn store<S: Simd, T: Number, const V: usize>(
    simd: S,
    to: *mut T,
    values: [S::F; V],
) {
    for (i, value) in values.into_iter().enumerate() {
        // SAFETY: the caller's.
        unsafe { T::store(simd, to.add(i * LANES), value) };
    }
}

/// `V` vectors, from lane `start` on, of `values` with one element for each lane.
#[inline(always)]
pub(super) fn constants<S: Simd, const V: usize>(
    simd: S,
    values: &[f32],
    start: usize,
) -> [S::F; V] {
    let values = &values[start..start + V * LANES];
    // SAFETY: the slice has as many elements.
    unsafe { load(simd, values.as_ptr()) }
}

/// Adds vectors to the f64 totals of their lanes, which begin at `start`. Only the lanes in `fresh`
/// count.
#[inline(always)]
pub(super) fn add_to<S: Simd, const V: usize>(
    simd: S,
    totals: &mut [f64],
    start: usize,
    fresh: Range<usize>,
    values: [S::F; V],
) {
    let mut lanes = [0.0f32; WINDOW];
    let lanes = &mut lanes[..V * LANES];
    // SAFETY: the array has as many elements.
    unsafe { store(simd, lanes.as_mut_ptr(), values) };
    let totals = &mut totals[start + fresh.start..start + fresh.end];
    for (total, value) in totals.iter_mut().zip(&lanes[fresh]) {
        *total += *value as f64;
    }
}
