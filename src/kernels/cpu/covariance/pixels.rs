//! The pixels of an image as rows of a matrix, and back.

use super::product::whole_tiles;
use super::square::Layout;
use crate::cpu::{dispatch, Kernel, Number, Simd, LANES};

/// Elements of the rows, filled up to whole tiles.
pub(super) fn rows_len(layout: Layout, pixels: usize) -> usize {
    whole_tiles(pixels) * layout.stride
}

/// Reads `[pixels, size]` into rows of f32 filled up with zeros, and subtracts the mean of each
/// channel if `center` is set.
pub(super) fn read<T: Number>(layout: Layout, center: bool, from: &[T], to: &mut [f32]) {
    dispatch(Read { layout, center, from, to });
}

/// Writes rows of f32 as `[pixels, size]`.
pub(super) fn write<T: Number>(layout: Layout, from: &[f32], to: &mut [T]) {
    dispatch(Write { layout, from, to });
}

struct Read<'a, T> {
    layout: Layout,
    center: bool,
    from: &'a [T],
    to: &'a mut [f32],
}

impl<T: Number> Kernel for Read<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Read { layout, center, from, to } = self;
        let pixels = from.len() / layout.size;
        to[pixels * layout.stride..].fill(0.0);
        let rows = to.chunks_exact_mut(layout.stride).zip(from.chunks_exact(layout.size));
        for (to, from) in rows {
            for at in (0..layout.padded).step_by(LANES) {
                let count = layout.size.saturating_sub(at).min(LANES);
                // SAFETY: there are `count` elements to read and a vector to write.
                unsafe {
                    let value = T::load_first(simd, from[at.min(layout.size)..].as_ptr(), count);
                    simd.store_f32(to[at..at + LANES].as_mut_ptr(), value);
                }
            }
        }
        if center {
            subtract_mean(simd, layout, pixels, to);
        }
    }
}

#[inline(always)]
fn subtract_mean<S: Simd>(simd: S, layout: Layout, pixels: usize, rows: &mut [f32]) {
    assert!(rows.len() >= pixels * layout.stride);
    let share = simd.splat(1.0 / pixels as f32);
    for at in (0..layout.padded).step_by(LANES) {
        // SAFETY: the first `pixels` rows have a vector at `at`.
        unsafe {
            let start = rows.as_mut_ptr().add(at);
            let mut sum = simd.zero();
            for pixel in 0..pixels {
                sum = simd.add(sum, simd.load_f32(start.add(pixel * layout.stride)));
            }
            let mean = simd.mul(sum, share);
            for pixel in 0..pixels {
                let at = start.add(pixel * layout.stride);
                simd.store_f32(at, simd.sub(simd.load_f32(at), mean));
            }
        }
    }
}

struct Write<'a, T> {
    layout: Layout,
    from: &'a [f32],
    to: &'a mut [T],
}

impl<T: Number> Kernel for Write<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Write { layout, from, to } = self;
        for (from, to) in from.chunks_exact(layout.stride).zip(to.chunks_exact_mut(layout.size)) {
            for at in (0..layout.size).step_by(LANES) {
                let count = (layout.size - at).min(LANES);
                // SAFETY: a vector to be read, and `count` elements to be written.
                unsafe {
                    let value = simd.load_f32(from[at..at + LANES].as_ptr());
                    T::store_first(simd, to[at..].as_mut_ptr(), value, count);
                }
            }
        }
    }
}
