//! Rows of `x` between their padding, with what is done to them as they are read.

use super::layout::{Layout, LANES};
use crate::kernels::cpu::convolution::{Geometry, Load};
use crate::kernels::cpu::simd::{Number, Simd};
use crate::kernels::cpu::Activation;

/// A [`Load`] whose channels are repeated until they fill whole vectors.
pub(super) struct Spread {
    scale: Vec<f32>,
    shift: Vec<f32>,
    activation: Activation,
}

impl Spread {
    pub(super) fn new(load: Load) -> Spread {
        let channels = load.scale.len();
        let times = (1..=LANES).find(|times| times * channels % LANES == 0).unwrap_or(LANES);
        Spread {
            scale: load.scale.repeat(times),
            shift: load.shift.repeat(times),
            activation: load.activation,
        }
    }
}

/// Where padded rows come from, and how wide they are.
pub(super) struct Source<'a, T> {
    pub geometry: &'a Geometry,
    pub x: &'a [T],
    pub load: Option<&'a Spread>,
    /// Pixels of a padded row, from the left padding on.
    pub width: usize,
}

impl<'a, T: Number> Source<'a, T> {
    pub(super) fn new(
        layout: &Layout,
        geometry: &'a Geometry,
        x: &'a [T],
        load: Option<&'a Spread>,
    ) -> Self {
        let Geometry { kernel_size, stride, dilation, .. } = *geometry;
        let partner = (T::PER_WORD - 1) * stride[1];
        let last = match layout.gather {
            true => {
                (layout.steps - 1) * T::PER_WORD * stride[1] + (kernel_size[1] - 1) * dilation[1]
            }
            false => (layout.columns - 1) * layout.column_pixels,
        };
        Source { geometry, x, load, width: last + partner + 1 }
    }

    /// Elements of the buffer for padded rows: one of them, or all that the kernel sees.
    pub(super) fn buffer_len(&self, layout: &Layout) -> usize {
        self.row_len() * if layout.gather { self.geometry.kernel_size[0] } else { 1 }
    }

    /// Elements of a padded row, with room for a vector that begins at the last of them.
    pub(super) fn row_len(&self) -> usize {
        self.width * self.geometry.in_channels + LANES
    }

    /// The padded row over row `row` of an image, which is there: in `x` itself if it can be read
    /// there, otherwise written to `buffer`, whose padding is zero already.
    ///
    /// # Safety
    /// `buffer` has [`row_len`](Self::row_len) elements.
    #[inline(always)]
    pub(super) unsafe fn row<S: Simd>(
        &self,
        simd: S,
        image: usize,
        row: usize,
        buffer: *mut T,
    ) -> *const T {
        let Geometry { in_channels, in_size: [height, width], padding, .. } = *self.geometry;
        let start = (image * height + row) * width * in_channels;
        let whole = padding[1] == 0 && self.width <= width;
        let reach = self.row_len() - if in_channels % LANES == 0 { LANES } else { 0 };
        if self.load.is_none() && whole && start + reach <= self.x.len() {
            return self.x[start..].as_ptr();
        }
        // SAFETY: as promised.
        unsafe { self.fill(simd, image, Some(row), buffer) };
        buffer
    }

    /// Writes the padded row over row `row` of an image: nothing but padding if it is not there.
    ///
    /// # Safety
    /// As for [`row`](Self::row).
    #[inline(always)]
    pub(super) unsafe fn fill<S: Simd>(
        &self,
        simd: S,
        image: usize,
        row: Option<usize>,
        buffer: *mut T,
    ) {
        let Geometry { in_channels, in_size: [height, width], padding, .. } = *self.geometry;
        let pixels = width.min(self.width.saturating_sub(padding[1]));
        let len = pixels * in_channels;
        if len == 0 {
            return;
        }
        // SAFETY: pixels are left only where `padding[1] + pixels <= self.width`.
        unsafe {
            let to = buffer.add(padding[1] * in_channels);
            let Some(row) = row.filter(|&row| row < height) else {
                return to.write_bytes(0, len);
            };
            let start = (image * height + row) * width * in_channels;
            let from = &self.x[start..start + len];
            match self.load {
                None => std::ptr::copy_nonoverlapping(from.as_ptr(), to, len),
                Some(spread) => spread.apply(simd, from, to),
            }
        }
    }
}

impl Spread {
    /// # Safety
    /// `to` has the length of `from`, and more that may be overwritten with what it holds.
    #[inline(always)]
    unsafe fn apply<S: Simd, T: Number>(&self, simd: S, from: &[T], to: *mut T) {
        let whole = from.len() - from.len() % LANES;
        let mut at = 0;
        // SAFETY: `at` is a multiple of LANES below the lengths of `scale` and `shift`, which are
        // such too; `i + LANES <= from.len()`; the rest goes through arrays.
        unsafe {
            for i in (0..whole).step_by(LANES) {
                self.vector(simd, at, from.as_ptr().add(i), to.add(i));
                at += LANES;
                if at == self.scale.len() {
                    at = 0;
                }
            }
            if whole < from.len() {
                let mut rest = [T::from_f32(0.0); LANES];
                let mut result = rest;
                rest[..from.len() - whole].copy_from_slice(&from[whole..]);
                self.vector(simd, at, rest.as_ptr(), result.as_mut_ptr());
                std::ptr::copy_nonoverlapping(result.as_ptr(), to.add(whole), from.len() - whole);
            }
        }
    }

    /// # Safety
    /// `from` and `to` have a vector's elements, `scale` and `shift` have them from `at` on.
    #[inline(always)]
    unsafe fn vector<S: Simd, T: Number>(&self, simd: S, at: usize, from: *const T, to: *mut T) {
        debug_assert!(at + LANES <= self.scale.len());
        let Activation { slope, max } = self.activation;
        // SAFETY: as promised.
        unsafe {
            let scale = simd.load_f32(self.scale.as_ptr().add(at));
            let shift = simd.load_f32(self.shift.as_ptr().add(at));
            let value = simd.mul_add(T::load(simd, from), scale, shift);
            T::store(simd, to, activate(simd, value, slope, max));
        }
    }
}

/// `min(v, max)` where `v > 0`, else `slope * v`.
#[inline(always)]
fn activate<S: Simd>(simd: S, value: S::F, slope: f32, max: f32) -> S::F {
    let zero = simd.zero();
    let negated = simd.sub(zero, value);
    if slope == 1.0 && max == f32::INFINITY {
        return value;
    }
    // The larger of two is the second where the first is no number: so NaN stays.
    let capped = if max == f32::INFINITY {
        value
    } else {
        simd.sub(zero, simd.max(simd.splat(-max), negated))
    };
    if slope == 0.0 {
        return simd.max(zero, capped);
    }
    let below = simd.sub(zero, simd.max(zero, negated));
    simd.add(simd.max(zero, capped), simd.mul(simd.splat(slope), below))
}
