//! A band of rows' share of the weight gradient.

use std::ops::Range;

use super::super::axis::{Axis, Met};
use super::super::channel_blocks::ChannelBlocks;
use super::super::columns::{load_lanes, zeros};
use super::microkernel::Products;
use crate::cpu::{dispatch, Kernel, Number, Simd, LANES};

/// What is added up, and where to.
pub(super) struct WeightPass<'a, T> {
    pub windows: ChannelBlocks,
    pub vertical: Axis,
    pub horizontal: Axis,
    pub x: &'a [T],
    pub grad_y: &'a [T],
    /// What each row of an image's outputs meets.
    pub met: &'a [Met],
    /// A row of `x`'s size.
    pub zeros: &'a [T],
    /// Rows of `grad_y`.
    pub band: Range<usize>,
    pub bias: bool,
    /// `[windows][taps, then the bias][LANES]`, to be added to.
    pub sums: &'a mut [f32],
}

impl<T: Number> WeightPass<'_, T> {
    /// Chooses the inner loops: as many kernel rows at a time as registers can hold the sums of.
    pub(super) fn run(mut self) {
        if self.bias {
            dispatch(Bias(&mut self));
        }
        let axis = self.horizontal;
        match (axis.taps, axis.step) {
            _ if self.windows.lanes() < LANES || !axis.is_plain() => dispatch(Any(&mut self)),
            (3, 1) => self.fixed::<3, 3, 1>(),
            (3, 2) => self.fixed::<3, 3, 2>(),
            (5, 1) => self.fixed::<2, 5, 1>(),
            (5, 2) => self.fixed::<2, 5, 2>(),
            (7, 1) => self.fixed::<1, 7, 1>(),
            _ => dispatch(Any(&mut self)),
        }
    }

    /// `R` kernel rows at a time.
    fn fixed<const R: usize, const KW: usize, const STEP: usize>(&mut self) {
        for tap in (0..self.vertical.taps).step_by(R) {
            dispatch(Fixed::<T, R, KW, STEP> { pass: self, tap });
        }
    }

    /// `row`, which is row `i` of `image`, and what `R` kernel rows from `tap` on met.
    #[inline(always)]
    fn products<const R: usize>(
        &self,
        start: usize,
        [row, image, i]: [usize; 3],
        tap: usize,
    ) -> Products<T, R> {
        let (vertical, horizontal) = (self.vertical, self.horizontal);
        let channels = self.windows.channels;
        let met = self.met[i];
        let in_row = horizontal.inputs * channels;
        let first = (image * vertical.inputs + met.input) * in_row + start;
        let mut x = [self.zeros[start..].as_ptr(); R];
        for (r, x) in x.iter_mut().enumerate() {
            // A tap before the first one wraps around.
            let beyond = (tap + r).wrapping_sub(met.tap);
            if beyond < met.taps {
                *x = self.x[first + beyond * vertical.dilation * in_row..].as_ptr();
            }
        }
        Products {
            x,
            columns: horizontal.inputs,
            origin: horizontal.origin,
            step: horizontal.step,
            grad_y: self.grad_y[row * horizontal.outputs * channels + start..].as_ptr(),
            outputs: horizontal.outputs,
            pixel: channels,
        }
    }

    /// The band's first row, its image and the row within that.
    #[inline(always)]
    fn place(&self) -> [usize; 3] {
        let row = self.band.start;
        [row, row / self.vertical.outputs, row % self.vertical.outputs]
    }

    #[inline(always)]
    fn next(&self, [row, image, i]: [usize; 3]) -> [usize; 3] {
        match i + 1 == self.vertical.outputs {
            true => [row + 1, image + 1, 0],
            false => [row + 1, image, i + 1],
        }
    }

    /// Where a window's sums begin.
    #[inline(always)]
    fn sums(&mut self, window: usize) -> &mut [f32] {
        let len = (self.vertical.taps * self.horizontal.taps + 1) * LANES;
        &mut self.sums[window * len..(window + 1) * len]
    }
}

/// Adds a vector to the one at `to`.
#[inline(always)]
fn add_to<S: Simd>(simd: S, to: &mut [f32], value: S::F) {
    let to = &mut to[..LANES];
    // SAFETY: the slice holds a vector.
    unsafe { simd.store_f32(to.as_mut_ptr(), simd.add(simd.load_f32(to.as_ptr()), value)) };
}

/// `R` kernel rows of a kernel that is `KW` wide, from `tap` on.
struct Fixed<'a, 'b, T, const R: usize, const KW: usize, const STEP: usize> {
    pass: &'a mut WeightPass<'b, T>,
    tap: usize,
}

impl<T, const R: usize, const KW: usize, const STEP: usize> Kernel for Fixed<'_, '_, T, R, KW, STEP>
where
    T: Number,
{
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Fixed { pass, tap } = self;
        let zeros = &zeros::<T>();
        for window in 0..pass.windows.count() {
            let start = pass.windows.start(window);
            let mut sums = [[simd.zero(); KW]; R];
            let mut row = pass.place();
            while row[0] < pass.band.end {
                let products = pass.products::<R>(start, row, tap);
                // SAFETY: these are rows of `x` and `grad_y`, whose lengths were checked against
                // the geometry, or zeros; a window has sixteen channels.
                sums = unsafe { products.run::<S, KW, STEP>(simd, zeros, sums) };
                row = pass.next(row);
            }
            let rows = R.min(pass.vertical.taps - tap);
            let to = &mut pass.sums(window)[tap * KW * LANES..];
            for (sums, to) in sums.iter().zip(to.chunks_exact_mut(KW * LANES)).take(rows) {
                for (k, sum) in sums.iter().enumerate() {
                    add_to(simd, &mut to[k * LANES..], *sum);
                }
            }
        }
    }
}

/// Any other kernel, tap by tap.
struct Any<'a, 'b, T>(&'a mut WeightPass<'b, T>);

impl<T: Number> Kernel for Any<'_, '_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let pass = self.0;
        let (lanes, width) = (pass.windows.lanes(), pass.horizontal.taps);
        for window in 0..pass.windows.count() {
            let start = pass.windows.start(window);
            for tap in 0..pass.vertical.taps * width {
                let mut sum = simd.zero();
                let column =
                    pass.horizontal.origin + (tap % width * pass.horizontal.dilation) as isize;
                let mut row = pass.place();
                while row[0] < pass.band.end {
                    let products = pass.products::<1>(start, row, tap / width);
                    // SAFETY: as above, but for a window of `lanes` channels.
                    sum = unsafe { products.run_any(simd, sum, column, lanes) };
                    row = pass.next(row);
                }
                add_to(simd, &mut pass.sums(window)[tap * LANES..], sum);
            }
        }
    }
}

/// The sums of `grad_y`.
struct Bias<'a, 'b, T>(&'a mut WeightPass<'b, T>);

impl<T: Number> Kernel for Bias<'_, '_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let pass = self.0;
        let (lanes, channels) = (pass.windows.lanes(), pass.windows.channels);
        let row = pass.horizontal.outputs * channels;
        let pixels = &pass.grad_y[pass.band.start * row..pass.band.end * row];
        let bias = pass.vertical.taps * pass.horizontal.taps * LANES;
        for window in 0..pass.windows.count() {
            let start = pass.windows.start(window);
            let mut sum = simd.zero();
            for pixel in pixels.chunks_exact(channels) {
                // SAFETY: a pixel has `lanes` channels from the window's start on.
                let value = unsafe { load_lanes(simd, pixel[start..].as_ptr(), lanes) };
                sum = simd.add(sum, value);
            }
            add_to(simd, &mut pass.sums(window)[bias..], sum);
        }
    }
}
