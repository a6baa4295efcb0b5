//! The computation for one image, window by window.

use super::{Layout, Shape};
use crate::cpu::{Kernel, Number, Simd, LANES};

/// Vectors of the widest window, and their lanes.
const VECTORS: usize = 4;
const WIDE: usize = VECTORS * LANES;

/// Rows of a block, which has sums of its own so that long sums keep their precision.
const BLOCK_ROWS: usize = 64;

/// Writes to `sums` the sums over the pixels, times `factor`: of `with`, or of `with * from` if
/// there is a scaling. Slices that are not wanted are empty.
pub(super) struct Image<'a, T> {
    pub shape: Shape,
    pub with: &'a [T],
    /// `[channels]`
    pub sums: &'a mut [T],
    pub factor: f32,
    pub scaling: Option<Scaling<'a, T>>,
}

/// `to = from * scale`
pub(super) struct Scaling<'a, T> {
    pub from: &'a [T],
    /// `[channels]`
    pub scale: &'a [T],
    pub to: &'a mut [T],
}

impl<T: Number> Kernel for Image<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Image { shape, with, sums, factor, scaling } = self;
        // A pool that repeats a task gets empty slices.
        match scaling {
            None if sums.len() == shape.channels => {
                let (from, scale, to) = (&[][..], &[][..], &mut [][..]);
                Pass::<T, true, false> { from, with, to, factor }.run(simd, shape, scale, sums);
            }
            Some(Scaling { from, scale, to }) if to.len() == from.len() => {
                match sums.is_empty() {
                    true => Pass::<T, false, true> { from, with, to, factor }
                        .run(simd, shape, scale, sums),
                    false => Pass::<T, true, true> { from, with, to, factor }
                        .run(simd, shape, scale, sums),
                }
            }
            _ => {}
        }
    }
}

/// The slices that are read or written have the same length.
struct Pass<'a, T, const SUM: bool, const SCALE: bool> {
    from: &'a [T],
    with: &'a [T],
    to: &'a mut [T],
    factor: f32,
}

/// Rows of vectors, which are `stride` elements apart. Each vector has `count` lanes.
#[derive(Clone, Copy)]
struct Window {
    at: usize,
    stride: usize,
    rows: usize,
    count: usize,
}

impl<T: Number, const SUM: bool, const SCALE: bool> Pass<'_, T, SUM, SCALE> {
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

    /// Computes `V` vectors of channels, or the last few channels.
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
        let mut scales = [simd.zero(); V];
        if SCALE {
            for (i, value) in scales.iter_mut().enumerate() {
                let scale = &scale[first + i * LANES..][..count];
                // SAFETY: the slice holds `count` elements.
                *value = unsafe { T::load_first(simd, scale.as_ptr(), count) };
            }
        }
        let window = Window { at: first, stride: shape.channels, rows: shape.pixels, count };
        let found = self.window::<S, V>(simd, window, scales);
        if SUM {
            for (i, sum) in found.into_iter().enumerate() {
                let sums = &mut sums[first + i * LANES..][..count];
                let sum = simd.mul(sum, simd.splat(self.factor));
                // SAFETY: the slice holds `count` elements.
                unsafe { T::store_first(simd, sums.as_mut_ptr(), sum, count) };
            }
        }
    }

    /// Computes each channel: wide rows of pixels, then vectors, then the last few pixels.
    #[inline(always)]
    fn planes<S: Simd>(&mut self, simd: S, shape: Shape, scale: &[T], sums: &mut [T]) {
        let Shape { pixels, .. } = shape;
        for channel in 0..shape.channels {
            let scale = match SCALE {
                true => simd.splat(scale[channel].to_f32()),
                false => simd.zero(),
            };
            let [wide, full] = [WIDE, LANES].map(|lanes| pixels / lanes * lanes);
            let window = |from: usize, to: usize, lanes, count| Window {
                at: channel * pixels + from,
                stride: lanes,
                rows: (to - from).div_ceil(lanes),
                count,
            };
            let first = window(0, wide, WIDE, LANES);
            let [a, b, c, d] = self.window::<S, VECTORS>(simd, first, [scale; VECTORS]);
            let [e] = self.window::<S, 1>(simd, window(wide, full, LANES, LANES), [scale]);
            let last = window(full, pixels, LANES, pixels - full);
            let [f] = self.window::<S, 1>(simd, last, [scale]);
            if SUM {
                let sum = simd.add(simd.add(a, b), simd.add(c, d));
                let sum = total(simd, simd.add(sum, simd.add(e, f)));
                sums[channel] = T::from_f32(sum * self.factor);
            }
        }
    }

    /// Scales a window and returns the sums over its rows.
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
        assert!(!SUM || end <= self.with.len(), "a window outside");
        assert!(!SCALE || end <= self.from.len().min(self.to.len()), "a window outside");
        let (from, with, to) = (self.from.as_ptr(), self.with.as_ptr(), self.to.as_mut_ptr());
        for first in (0..window.rows).step_by(BLOCK_ROWS) {
            let mut sums = [simd.zero(); V];
            for row in first..window.rows.min(first + BLOCK_ROWS) {
                for i in 0..V {
                    let at = window.at + row * window.stride + i * LANES;
                    // SAFETY: the window's last lane lies in all slices that are used.
                    unsafe {
                        let mut value = simd.zero();
                        if SCALE {
                            value = load(simd, from.add(at), window.count);
                            store(simd, to.add(at), simd.mul(value, scale[i]), window.count);
                        }
                        if SUM {
                            let other = load(simd, with.add(at), window.count);
                            sums[i] = match SCALE {
                                true => simd.mul_add(value, other, sums[i]),
                                false => simd.add(other, sums[i]),
                            };
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
    // SAFETY: the array holds a vector.
    unsafe { simd.store_f32(lanes.as_mut_ptr(), value) };
    lanes.iter().sum()
}
