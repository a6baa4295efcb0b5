//! Strips of `x` and `grad_y` as words.

use std::ops::Range;

use super::layout::{Layout, Strip, LANES};
use super::pad::Source;
use crate::kernels::cpu::convolution::Geometry;
use crate::kernels::cpu::simd::{Number, Simd};

/// Words of the elements behind `low` and, if a word holds two, `high`.
///
/// # Safety
/// Both have a vector's elements.
#[inline(always)]
unsafe fn words<S: Simd, T: Number>(simd: S, low: *const T, high: *const T) -> S::W {
    // SAFETY: a `Number` of two a word is bf16, one of one a word is f32.
    unsafe {
        match T::PER_WORD {
            2 => simd.interleave(low.cast(), high.cast()),
            _ => simd.load_words(low.cast()),
        }
    }
}

/// Packs the rows of `x` that a strip needs. Rows outside the image stay as they are: nobody reads
/// them.
///
/// # Safety
/// `to` has `layout.x_words()` elements, `rows` has the padded rows of one output row.
#[inline(always)]
pub(super) unsafe fn pack_x<S: Simd, T: Number>(
    simd: S,
    layout: &Layout,
    source: &Source<T>,
    strip: &Strip,
    rows: *mut T,
    to: *mut u32,
) {
    for (index, image) in strip.images.clone().enumerate() {
        for row in 0..layout.packed_rows(strip.rows.len()) {
            // SAFETY: the strip is no larger than the layout's.
            unsafe {
                let to = to.add(index * layout.x_image + row * layout.x_row);
                if layout.gather {
                    gather_row(simd, layout, source, image, strip.rows.start + row, rows, to);
                } else if let Some(row) = input_row(layout, source.geometry, strip, row) {
                    let from = source.row(simd, image, row, rows);
                    pack_row(simd, layout, source.geometry, from, to);
                }
            }
        }
    }
}

/// The row of the image that is a strip's packed row `row`.
#[inline(always)]
fn input_row(layout: &Layout, geometry: &Geometry, strip: &Strip, row: usize) -> Option<usize> {
    let row = match layout.taps[0] {
        1 => (strip.rows.start + row) * geometry.stride[0],
        _ => strip.rows.start * geometry.stride[0] + row,
    };
    row.checked_sub(geometry.padding[0]).filter(|&row| row < geometry.in_size[0])
}

/// # Safety
/// `from` is a padded row, `to` has room for the row of all blocks.
#[inline(always)]
unsafe fn pack_row<S: Simd, T: Number>(
    simd: S,
    layout: &Layout,
    geometry: &Geometry,
    from: *const T,
    to: *mut u32,
) {
    let next = geometry.stride[1] * geometry.in_channels;
    let column = layout.column_pixels * geometry.in_channels;
    for block in 0..layout.blocks {
        let mut low = from.wrapping_add(block * LANES);
        let mut to = to.wrapping_add(block * layout.x_block);
        for _ in 0..layout.columns {
            // SAFETY: a padded row has all columns and the pixels after them, and room behind.
            unsafe { simd.store_words(to, words(simd, low, low.wrapping_add(next))) };
            low = low.wrapping_add(column);
            to = to.wrapping_add(LANES);
        }
    }
}

/// Packs the pixels under the whole kernel into the lanes, for each step of an output row.
///
/// # Safety
/// `rows` has as many padded rows as the kernel, `to` has room for a row and a vector.
#[inline(always)]
unsafe fn gather_row<S: Simd, T: Number>(
    simd: S,
    layout: &Layout,
    source: &Source<T>,
    image: usize,
    row: usize,
    rows: *mut T,
    to: *mut u32,
) {
    let Geometry { in_channels, kernel_size, stride, dilation, .. } = *source.geometry;
    // Taps side by side are one run of memory.
    let (runs, run) = match dilation[1] {
        1 => (1, kernel_size[1] * in_channels),
        _ => (kernel_size[1], in_channels),
    };
    for tap in 0..kernel_size[0] {
        let input = (row * stride[0] + tap * dilation[0]).checked_sub(source.geometry.padding[0]);
        // SAFETY: row `tap` is one of `rows`.
        unsafe { source.fill(simd, image, input, rows.add(tap * source.row_len())) };
    }
    for step in 0..layout.steps {
        for tap in 0..kernel_size[0] {
            // SAFETY: each vector begins at an element that is wanted; what it writes beyond the
            // run lies in the next run, in the next step or behind the last of these.
            unsafe {
                let pixel = step * T::PER_WORD * stride[1] * in_channels;
                let from = rows.add(tap * source.row_len() + pixel);
                let to = to.add(step * layout.x_column + tap * kernel_size[1] * in_channels);
                for start in 0..runs {
                    let from = from.add(start * dilation[1] * in_channels);
                    for lane in (0..run).step_by(LANES) {
                        let low = from.add(lane);
                        let both = words(simd, low, low.wrapping_add(stride[1] * in_channels));
                        simd.store_words(to.add(start * run + lane), both);
                    }
                }
            }
        }
    }
}

/// Packs the output channels from `first` on, in as many blocks as there are.
///
/// # Safety
/// `to` has `blocks * layout.y_block` elements.
#[inline(always)]
pub(super) unsafe fn pack_y<S: Simd, T: Number>(
    simd: S,
    layout: &Layout,
    geometry: &Geometry,
    grad_y: &[T],
    strip: &Strip,
    channels: Range<usize>,
    to: *mut u32,
) {
    let [height, width] = geometry.out_size();
    for (index, image) in strip.images.clone().enumerate() {
        for row in 0..strip.rows.len() {
            let pixel = (image * height + strip.rows.start + row) * width;
            for (block, channel) in channels.clone().step_by(LANES).enumerate() {
                let at = block * layout.y_block + index * layout.y_image + row * layout.y_row;
                let from = &grad_y[pixel * geometry.out_channels + channel..];
                // SAFETY: the strip is no larger than the layout's.
                unsafe { pack_y_row(simd, from, width, geometry.out_channels, to.add(at)) };
            }
        }
    }
}

/// Packs `width` pixels, `pixel` elements apart.
///
/// # Safety
/// `to` has a vector for each step.
#[inline(always)]
unsafe fn pack_y_row<S: Simd, T: Number>(
    simd: S,
    from: &[T],
    width: usize,
    pixel: usize,
    to: *mut u32,
) {
    let per_word = T::PER_WORD;
    // Pixels with a vector's elements behind them.
    let whole = from.len().checked_sub(LANES).map_or(0, |room| (room / pixel + 1).min(width));
    let (steps, fast) = (width.div_ceil(per_word), whole / per_word);
    for step in 0..fast {
        let low = from.as_ptr().wrapping_add(step * per_word * pixel);
        // SAFETY: pixels `step * per_word` up to `per_word` more are among the `whole` ones.
        unsafe {
            simd.store_words(to.add(step * LANES), words(simd, low, low.wrapping_add(pixel)))
        };
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
        unsafe {
            simd.store_words(to.add(step * LANES), words(simd, both[0].as_ptr(), both[1].as_ptr()));
        }
    }
}

/// Adds the sum over the steps of a packed strip of `grad_y` to each of `sums`.
///
/// # Safety
/// `packed` has the blocks of all of `sums`.
#[inline(always)]
pub(super) unsafe fn add_up<S: Simd, T: Number>(
    simd: S,
    layout: &Layout,
    strip: &Strip,
    packed: *const u32,
    sums: &mut [f32],
) {
    const CHAINS: usize = 4;
    let one = T::PER_WORD as u32;
    let one = if one == 2 { 0x3f80_3f80 } else { 1.0f32.to_bits() };
    for (block, sums) in sums.chunks_mut(LANES).enumerate() {
        let mut result = [0.0; LANES];
        // SAFETY: the strip is no larger than the layout's.
        unsafe {
            let ones = simd.broadcast_word(&one);
            let mut totals = [simd.zero(); CHAINS];
            for image in 0..strip.images.len() {
                let at = block * layout.y_block + image * layout.y_image;
                for step in 0..strip.rows.len() * layout.steps {
                    let words = simd.load_words(packed.add(at + step * LANES));
                    totals[step % CHAINS] = T::dot(simd, totals[step % CHAINS], words, ones);
                }
            }
            let [a, b, c, d] = totals;
            simd.store_f32(result.as_mut_ptr(), simd.add(simd.add(a, b), simd.add(c, d)));
        }
        for (sum, value) in sums.iter_mut().zip(result) {
            *sum += value;
        }
    }
}
