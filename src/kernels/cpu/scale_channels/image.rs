//! One image, window by window.

use super::{Layout, Shape};
use crate::kernels::cpu::simd::{Kernel, Simd};
use crate::kernels::cpu::Number;

/// Lanes of a vector.
const LANES: usize = 16;

/// Vectors of the widest window, and their lanes.
const VECTORS: usize = 4;
const WIDE: usize = VECTORS * LANES;

/// Rows whose sums are kept by themselves, so that many rows lose no precision.
const BLOCK_ROWS: usize = 64;

/// `to = from * scale`, and the sums of `from * with`.
pub(super) struct Image<'a, T> {
    pub shape: Shape,
    pub from: &'a [T],
    /// `[channels]`
    pub scale: &'a [T],
    pub to: &'a mut [T],
    pub products: Option<Products<'a, T>>,
}

pub(super) struct Products<'a, T> {
    pub with: &'a [T],
    /// `[channels]`
    pub sums: &'a mut [T],
}

impl<T: Number> Kernel for Image<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Image { shape, from, scale, to, products } = self;
        // A pool that runs a task twice gets nothing the second time.
        if to.len() != from.len() {
            return;
        }
        match products {
            None => Pass::<T, false> { from, with: from, to }.run(simd, shape, scale, &mut []),
            Some(Products { with, sums }) => {
                Pass::<T, true> { from, with, to }.run(simd, shape, scale, sums);
            }
        }
    }
}

/// The slices are of one length. Sums are taken with `SUM` alone.
struct Pass<'a, T, const SUM: bool> {
    from: &'a [T],
    with: &'a [T],
    to: &'a mut [T],
}

/// Rows of vectors, `stride` apart; of each vector `count` lanes are there.
#[derive(Clone, Copy)]
struct Window {
    at: usize,
    stride: usize,
    rows: usize,
    count: usize,
}

impl<T: Number, const SUM: bool> Pass<'_, T, SUM> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S, shape: Shape, scale: &[T], sums: &mut [T]) {
        match shape.layout {
            Layout::ChannelsLast => self.channels_last(simd, shape, scale, sums),
            Layout::Planes => self.planes(simd, shape, scale, sums),
        }
    }

    #[inline(always)]
    fn channels_last<S: Simd>(&mut self, simd: S, shape: Shape, scale: &[T], sums: &mut [T]) {
        let wide = shape.channels / WIDE * WIDE;
        for first in (0..wide).step_by(WIDE) {
            self.columns::<S, VECTORS>(simd, shape, first, scale, sums);
        }
        for first in (wide..shape.channels).step_by(LANES) {
            self.columns::<S, 1>(simd, shape, first, scale, sums);
        }
    }

    /// `V` vectors of channels, or the last few channels.
    #[inline(always)]
    fn columns<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        shape: Shape,
        first: usize,
        scale: &[T],
        sums: &mut [T],
    ) {
        let count = LANES.min(shape.channels - first);
        let mut factors = [simd.zero(); V];
        for (i, factor) in factors.iter_mut().enumerate() {
            let scale = &scale[first + i * LANES..][..count];
            // SAFETY: the slice holds so many elements.
            *factor = unsafe { T::load_first(simd, scale.as_ptr(), count) };
        }
        let window = Window { at: first, stride: shape.channels, rows: shape.pixels, count };
        let found = self.window::<S, V>(simd, window, factors);
        if SUM {
            for (i, sum) in found.into_iter().enumerate() {
                let sums = &mut sums[first + i * LANES..][..count];
                // SAFETY: the slice holds so many elements.
                unsafe { T::store_first(simd, sums.as_mut_ptr(), sum, count) };
            }
        }
    }

    /// Channel by channel: wide rows of pixels, then vectors, then the last few pixels.
    #[inline(always)]
    fn planes<S: Simd>(&mut self, simd: S, shape: Shape, scale: &[T], sums: &mut [T]) {
        let Shape { pixels, .. } = shape;
        for (channel, factor) in scale.iter().enumerate() {
            let factor = simd.splat(factor.to_f32());
            let [wide, full] = [WIDE, LANES].map(|lanes| pixels / lanes * lanes);
            let window = |from: usize, to: usize, lanes, count| Window {
                at: channel * pixels + from,
                stride: lanes,
                rows: (to - from).div_ceil(lanes),
                count,
            };
            let first = window(0, wide, WIDE, LANES);
            let [a, b, c, d] = self.window::<S, VECTORS>(simd, first, [factor; VECTORS]);
            let [e] = self.window::<S, 1>(simd, window(wide, full, LANES, LANES), [factor]);
            let last = window(full, pixels, LANES, pixels - full);
            let [f] = self.window::<S, 1>(simd, last, [factor]);
            if SUM {
                let sum = simd.add(simd.add(a, b), simd.add(c, d));
                sums[channel] = T::from_f32(total(simd, simd.add(sum, simd.add(e, f))));
            }
        }
    }

    /// The sums over the rows.
    #[inline(always)]
    fn window<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        window: Window,
        scale: [S::F; V],
    ) -> [S::F; V] {
        let mut totals = [simd.zero(); V];
        if window.rows == 0 {
            return totals;
        }
        let end = window.at + (window.rows - 1) * window.stride + (V - 1) * LANES + window.count;
        let len = self.from.len();
        assert!(end <= len && len == self.with.len() && len == self.to.len(), "a window outside");
        let (from, with, to) = (self.from.as_ptr(), self.with.as_ptr(), self.to.as_mut_ptr());
        for first in (0..window.rows).step_by(BLOCK_ROWS) {
            let mut sums = [simd.zero(); V];
            for row in first..window.rows.min(first + BLOCK_ROWS) {
                for i in 0..V {
                    let at = window.at + row * window.stride + i * LANES;
                    // SAFETY: the window's last lane was found to lie in all of the slices.
                    unsafe {
                        let value = load(simd, from.add(at), window.count);
                        store(simd, to.add(at), simd.mul(value, scale[i]), window.count);
                        if SUM {
                            let other = load(simd, with.add(at), window.count);
                            sums[i] = simd.mul_add(value, other, sums[i]);
                        }
                    }
                }
            }
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total = simd.add(*total, sum);
            }
        }
        totals
    }
}

/// # Safety
/// Reads `count` elements.
#[inline(always)]
unsafe fn load<S: Simd, T: Number>(simd: S, from: *const T, count: usize) -> S::F {
    match count {
        LANES => unsafe { T::load(simd, from) },
        _ => unsafe { T::load_first(simd, from, count) },
    }
}

/// # Safety
/// Writes `count` elements.
#[inline(always)]
unsafe fn store<S: Simd, T: Number>(simd: S, to: *mut T, value: S::F, count: usize) {
    match count {
        LANES => unsafe { T::store(simd, to, value) },
        _ => unsafe { T::store_first(simd, to, value, count) },
    }
}

/// The sum of the lanes.
#[inline(always)]
fn total<S: Simd>(simd: S, value: S::F) -> f32 {
    let mut lanes = [0.0; LANES];
    // SAFETY: as many elements as are written.
    unsafe { simd.store_f32(lanes.as_mut_ptr(), value) };
    lanes.iter().sum()
}
