//! Reads rows of pixels of an activation into a regular form.
//!
//! Padding and missing rows become zeros, channels are filled up with zeros to whole vectors, and
//! the batch norm of a load is applied. So the transforms need not care about borders.

use crate::cpu::{convert, prefetch, Line, Number, Simd, LANES};
use crate::kernels::cpu::activation::SimdActivation;
use crate::kernels::cpu::convolution::Load;

/// The most cache lines that are prefetched at once; more would evict each other.
const PREFETCHED: usize = 128;

/// Rows of pixels of a row of tiles, two of which also belong to the next row of tiles.
pub(super) const RING: usize = 4;

/// Words of 16 channels.
pub(super) const fn words<M: Number>() -> usize {
    LANES / M::PER_WORD
}

/// Some channels of a batch of NHWC images.
#[derive(Clone, Copy)]
pub(super) struct SourceRows<'a, T> {
    pub source: &'a [T],
    pub batch: usize,
    pub size: [usize; 2],
    /// Channels of the source.
    pub channels: usize,
    /// The channels that are read: `first..first + count`.
    pub first: usize,
    pub count: usize,
    pub padding: [usize; 2],
    /// Pixels of a row as it is read, at least `size[1] + padding[1]`.
    pub width: usize,
    pub load: Option<Load<'a>>,
}

impl<T: Number> SourceRows<'_, T> {
    /// Elements of a pixel.
    #[inline(always)]
    pub(super) fn stride(&self) -> usize {
        self.count.next_multiple_of(LANES)
    }

    /// Elements of a row.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.width * self.stride()
    }

    /// Reads a row of an image as `M`. Rows are counted from the first row of the padding on.
    ///
    /// # Safety
    /// `to` has `len` elements.
    #[inline(always)]
    pub(super) unsafe fn read<S: Simd, M: Number>(
        &self,
        simd: S,
        to: *mut M,
        image: usize,
        row: usize,
    ) {
        let [height, width] = self.size;
        let (stride, left) = (self.stride(), self.padding[1]);
        // SAFETY: `left + width <= self.width`, so all that is written lies in the row; pixels
        // that are read are those of an image.
        unsafe {
            let row = row.wrapping_sub(self.padding[0]);
            if row >= height || image >= self.batch {
                return to.write_bytes(0, self.len());
            }
            to.write_bytes(0, left * stride);
            to.add((left + width) * stride).write_bytes(0, self.len() - (left + width) * stride);
            let at = (image * height + row) * width * self.channels + self.first;
            debug_assert!(at + (width - 1) * self.channels + self.count <= self.source.len());
            let (from, to) = (self.source.as_ptr().add(at), to.add(left * stride));
            if self.count == self.channels && self.count == stride && self.load.is_none() {
                for i in (0..width * stride).step_by(LANES) {
                    convert(simd, from.add(i), to.add(i));
                }
                return;
            }
            for c in (0..self.count).step_by(LANES) {
                self.read_channels(simd, from.add(c), to.add(c), c);
            }
        }
    }

    /// Prefetches `count` rows from `row` on, of an image and the image after it.
    #[inline(always)]
    pub(super) fn prefetch(&self, image: usize, row: usize, count: usize) {
        let row_len = self.size[1] * self.channels;
        let row = image * self.size[0] + row.saturating_sub(self.padding[0]);
        let line = Line::BYTES / size_of::<T>();
        let end = (row * row_len + (count * row_len).min(PREFETCHED * line)).min(self.source.len());
        // If other channels lie between those that are read, too much would be prefetched.
        if self.count == self.channels {
            for at in (row * row_len..end).step_by(line) {
                prefetch(&raw const self.source[at]);
            }
        }
    }

    /// Reads a vector of channels of all pixels of a row.
    ///
    /// # Safety
    /// Both have `size[1]` pixels; `to` has whole vectors.
    #[inline(always)]
    unsafe fn read_channels<S: Simd, M: Number>(
        &self,
        simd: S,
        from: *const T,
        to: *mut M,
        c: usize,
    ) {
        let (count, stride) = (LANES.min(self.count - c), self.stride());
        let mut affine = None;
        if let Some(load) = self.load {
            affine = Some(Affine::new(simd, load, self.first + c, count));
        }
        let mut rest = [T::from_f32(0.0); LANES];
        for x in 0..self.size[1] {
            // SAFETY: the caller's; a vector that would reach past the pixel is read through
            // `rest`.
            unsafe {
                let (mut from, to) = (from.add(x * self.channels), to.add(x * stride));
                if count < LANES {
                    from.copy_to_nonoverlapping(rest.as_mut_ptr(), count);
                    from = rest.as_ptr();
                }
                let mut value = T::load(simd, from);
                if let Some(affine) = affine {
                    value = affine.apply(simd, value);
                }
                M::store(simd, to, value);
            }
        }
    }
}

/// A `Load` of 16 channels.
#[derive(Clone, Copy)]
struct Affine<F> {
    scale: F,
    shift: F,
    activation: SimdActivation,
}

impl<F: Copy> Affine<F> {
    #[inline(always)]
    fn new<S: Simd<F = F>>(simd: S, load: Load<'_>, first: usize, count: usize) -> Self {
        let (mut scale, mut shift) = ([0.0; LANES], [0.0; LANES]);
        scale[..count].copy_from_slice(&load.scale[first..first + count]);
        shift[..count].copy_from_slice(&load.shift[first..first + count]);
        // SAFETY: both arrays have 16 numbers.
        let (scale, shift) =
            unsafe { (simd.load_f32(scale.as_ptr()), simd.load_f32(shift.as_ptr())) };
        Affine { scale, shift, activation: load.activation.simd() }
    }

    #[inline(always)]
    fn apply<S: Simd<F = F>>(&self, simd: S, value: F) -> F {
        self.activation.apply(simd, simd.mul_add(value, self.scale, self.shift))
    }
}
