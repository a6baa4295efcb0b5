//! Packs strips of `x` and `grad_y` into words.

use std::ops::Range;

use super::layout::{Layout, Strip};
use super::plan::Plan;
use super::rows::{Row, Source};
use crate::cpu::{convert, Number, Simd, LANES};
use crate::kernels::cpu::convolution::Geometry;

/// Stores words of the elements at `low` and, if a word holds two, of those at `high`.
///
/// # Safety
/// Both have the elements of a vector, and `to` has room for its words.
#[inline(always)]
unsafe fn pack<S: Simd, T: Number, M: Number>(
    simd: S,
    low: *const T,
    high: *const T,
    to: *mut u32,
) {
    // SAFETY: as promised. Number types with words of as many numbers are the same.
    unsafe {
        match (T::PER_WORD, M::PER_WORD) {
            (2, 2) => simd.store_words(to, simd.interleave(low.cast(), high.cast())),
            (_, 1) => convert(simd, low, to.cast::<M>()),
            _ => M::store_rows(simd, to, T::load(simd, low), T::load(simd, high)),
        }
    }
}

/// Buffers for a row of `x`, without and with its padding.
pub(super) struct Rows<M> {
    pub row: *mut M,
    pub padded: *mut M,
}

/// Elements of a padded row of narrow `x`, and room for a vector.
pub(super) fn padded_len<M: Number>(layout: &Layout, geometry: &Geometry) -> usize {
    let partner = (M::PER_WORD - 1) * geometry.stride[1];
    let last = (layout.columns - 1) * layout.column_pixels + partner;
    (last + 1) * geometry.in_channels + LANES
}

/// Packs the rows of `x` that a strip needs. Rows outside the image stay as they are, since they
/// are not read.
///
/// # Safety
/// `to` has `layout.x_words()` elements; `rows.row` has `Source::buffer_len` of them and
/// `rows.padded` has `padded_len`, with zeros for padding.
#[inline(always)]
pub(super) unsafe fn pack_x<S: Simd, T: Number, M: Number>(
    simd: S,
    layout: &Layout,
    source: &Source<T>,
    strip: &Strip,
    rows: &Rows<M>,
    to: *mut u32,
) {
    for (index, image) in strip.images.clone().enumerate() {
        for row in 0..layout.packed_rows(strip.rows.len()) {
            let Some(input) = input_row(layout, source.geometry, strip, row) else {
                continue;
            };
            // SAFETY: the strip is no larger than the layout's.
            unsafe {
                let to = to.add(index * layout.x_image + row * layout.x_row);
                let from = source.row(simd, image, input, rows.row);
                if layout.narrow {
                    pack_narrow_row(simd, layout, source.geometry, from.at, rows.padded, to);
                } else {
                    pack_row(simd, layout, source.geometry, from, to);
                }
            }
        }
    }
}

/// The row of the image that is packed row `row` of a strip.
#[inline(always)]
fn input_row(layout: &Layout, geometry: &Geometry, strip: &Strip, row: usize) -> Option<usize> {
    let row = match layout.taps[0] {
        1 => (strip.rows.start + row) * geometry.stride[0],
        _ => strip.rows.start * geometry.stride[0] + row,
    };
    row.checked_sub(geometry.padding[0]).filter(|&row| row < geometry.in_size[0])
}

/// Packs a row of `x`, in blocks of 16 channels.
///
/// # Safety
/// `from` is a row of `x` that is followed by room for a vector, `to` has room for the row in all
/// blocks.
#[inline(always)]
unsafe fn pack_row<S: Simd, M: Number>(
    simd: S,
    layout: &Layout,
    geometry: &Geometry,
    Row { at: from, pixel: elements }: Row<M>,
    to: *mut u32,
) {
    let Geometry { in_size: [_, width], stride, padding, .. } = *geometry;
    let (next, padding, pixels) = (stride[1], padding[1], layout.column_pixels);
    // Columns of which both pixels lie in the image.
    let start = padding.div_ceil(pixels).min(layout.columns);
    let end = (width + padding).saturating_sub(next).div_ceil(pixels).min(layout.columns);
    let zeros = [M::from_f32(0.0); LANES];
    for block in 0..layout.blocks {
        let (from, to) =
            (from.wrapping_add(block * LANES), to.wrapping_add(block * layout.x_block));
        let border = |column: usize| {
            let both = [0, next].map(|more| {
                let pixel = (column * pixels + more).checked_sub(padding);
                let pixel = pixel.filter(|&pixel| pixel < width);
                pixel.map_or(zeros.as_ptr(), |pixel| from.wrapping_add(pixel * elements))
            });
            (both, to.wrapping_add(column * LANES))
        };
        // SAFETY: the pixels are those of the row, or zeros; there is room for all columns.
        unsafe {
            for column in (0..start).chain(end.max(start)..layout.columns) {
                let ([low, high], to) = border(column);
                pack::<S, M, M>(simd, low, high, to);
            }
            // If padding is wider than all columns there are none, and the pointer is not used.
            let first = (start * pixels).wrapping_sub(padding).wrapping_mul(elements);
            let mut low = from.wrapping_add(first);
            for column in start..end {
                let high = low.wrapping_add(next * elements);
                pack::<S, M, M>(simd, low, high, to.wrapping_add(column * LANES));
                low = low.wrapping_add(pixels * elements);
            }
        }
    }
}

/// Packs a row of narrow `x`, where channels are not filled up to vectors.
///
/// # Safety
/// `from` is a row of `x`, `padded` has room for it and its padding, `to` for the packed row.
#[inline(always)]
unsafe fn pack_narrow_row<S: Simd, M: Number>(
    simd: S,
    layout: &Layout,
    geometry: &Geometry,
    from: *const M,
    padded: *mut M,
    to: *mut u32,
) {
    let Geometry { in_channels, in_size: [_, width], stride, padding, .. } = *geometry;
    let column = layout.column_pixels * in_channels;
    let room = padded_len::<M>(layout, geometry) - LANES;
    let pixels = width.min((room / in_channels).saturating_sub(padding[1]));
    // SAFETY: no more pixels are copied than there is room for. What a vector writes past its
    // column is overwritten by the next one, or lies in the room after the last one.
    unsafe {
        if pixels > 0 {
            let to = padded.add(padding[1] * in_channels);
            std::ptr::copy_nonoverlapping(from, to, pixels * in_channels);
        }
        let from = padded.cast_const();
        // Neighboring columns are packed as one run.
        let (runs, run) = match layout.column_pixels {
            1 => (1, layout.x_row),
            _ => (layout.columns, in_channels),
        };
        for index in 0..runs {
            for lane in (0..run).step_by(LANES) {
                let low = from.add(index * column + lane);
                let high = low.wrapping_add(stride[1] * in_channels);
                pack::<S, M, M>(simd, low, high, to.add(index * in_channels + lane));
            }
        }
    }
}

/// Packs the rows of `grad_y` of a strip, for some output channels of a group.
///
/// # Safety
/// `to` has `blocks * layout.y_block` elements.
#[inline(always)]
pub(super) unsafe fn pack_y<S: Simd, T: Number, M: Number>(
    simd: S,
    plan: &Plan,
    group: usize,
    grad_y: &[T],
    strip: &Strip,
    channels: Range<usize>,
    to: *mut u32,
) {
    let Plan { layout, geometry, groups, .. } = plan;
    let [height, width] = geometry.out_size();
    let (elements, first) = (groups * geometry.out_channels, group * geometry.out_channels);
    for (index, image) in strip.images.clone().enumerate() {
        for row in 0..strip.rows.len() {
            let pixel = (image * height + strip.rows.start + row) * width;
            for (block, channel) in channels.clone().step_by(LANES).enumerate() {
                let at = block * layout.y_block + index * layout.y_image + row * layout.y_row;
                let from = &grad_y[pixel * elements + first + channel..];
                // SAFETY: the strip is no larger than the layout's.
                unsafe { pack_y_row::<S, T, M>(simd, from, width, elements, to.add(at)) };
            }
        }
    }
}

/// Packs `width` pixels, `pixel` elements apart.
///
/// # Safety
/// `to` has a vector for each step.
#[inline(always)]
unsafe fn pack_y_row<S: Simd, T: Number, M: Number>(
    simd: S,
    from: &[T],
    width: usize,
    pixel: usize,
    to: *mut u32,
) {
    let per_word = M::PER_WORD;
    // Pixels of which a whole vector can be read.
    let whole = from.len().checked_sub(LANES).map_or(0, |room| (room / pixel + 1).min(width));
    let (steps, fast) = (width.div_ceil(per_word), whole / per_word);
    for step in 0..fast {
        let low = from.as_ptr().wrapping_add(step * per_word * pixel);
        // SAFETY: the pixels of this step are among the `whole` ones.
        unsafe { pack::<S, T, M>(simd, low, low.wrapping_add(pixel), to.add(step * LANES)) };
    }
    for step in fast..steps {
        let both: [[T; LANES]; 2] = std::array::from_fn(|half| {
            let mut values = [T::from_f32(0.0); LANES];
            let index = step * per_word + half;
            if index < width {
                let rest = &from[index * pixel..];
                let len = rest.len().min(LANES);
                values[..len].copy_from_slice(&rest[..len]);
            }
            values
        });
        // SAFETY: both are vectors.
        let [low, high] = both.each_ref().map(|values| values.as_ptr());
        unsafe { pack::<S, T, M>(simd, low, high, to.add(step * LANES)) };
    }
}
