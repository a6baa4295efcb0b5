//! One band of rows of a task.

use std::ops::Range;

use super::super::axis::{Axis, Met};
use super::super::channel_blocks::ChannelBlocks;
use super::super::columns::{load_lanes, zeros};
use super::microkernel::Products;
use crate::cpu::{dispatch, sums, Kernel, Number, Simd, LANES};

/// The most sums that several kernel rows take.
const SUMS: usize = 10;

/// Adds the products of a band of rows of `grad_y` to partial gradients.
pub(super) struct Task<'a, T> {
    pub blocks: ChannelBlocks,
    pub vertical: Axis,
    pub horizontal: Axis,
    pub x: &'a [T],
    pub grad_y: &'a [T],
    /// For each row of outputs of an image, the taps that meet a row of `x`.
    pub met: &'a [Met],
    /// A row of zeros, as long as a row of `x`.
    pub zeros: &'a [T],
    /// The rows of `grad_y`.
    pub band: Range<usize>,
    pub bias: bool,
    /// The partial gradient, `[blocks][taps, then the bias][LANES]`.
    pub sums: &'a mut [f32],
}

impl<T: Number> Task<'_, T> {
    /// Selects the microkernel, with the sums of as many kernel rows as registers can hold.
    pub(super) fn run(mut self) {
        if self.bias {
            dispatch(Bias(&mut self));
        }
        let axis = self.horizontal;
        let few = sums() < SUMS;
        match (axis.taps, axis.step) {
            _ if self.blocks.lanes() < LANES || !axis.is_plain() => dispatch(Any(&mut self)),
            (3, 1) if few => self.fixed::<1, 3, 1>(),
            (3, 2) if few => self.fixed::<1, 3, 2>(),
            (5, 1) if few => self.fixed::<1, 5, 1>(),
            (5, 2) if few => self.fixed::<1, 5, 2>(),
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
            dispatch(Fixed::<T, R, KW, STEP> { task: self, tap });
        }
    }

    /// `row`, which is row `i` of `image`, and the rows of `x` under `R` kernel rows from `tap` on.
    #[inline(always)]
    fn products<const R: usize>(
        &self,
        start: usize,
        [row, image, i]: [usize; 3],
        tap: usize,
    ) -> Products<T, R> {
        let (vertical, horizontal) = (self.vertical, self.horizontal);
        let channels = self.blocks.channels;
        let met = self.met[i];
        let in_row = horizontal.inputs * channels;
        let first = (image * vertical.inputs + met.input) * in_row + start;
        let mut x = [self.zeros[start..].as_ptr(); R];
        for (r, x) in x.iter_mut().enumerate() {
            // Before the first tap this wraps around to a huge number.
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

    /// The first row of the band, its image and the row in that image.
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

    /// The sums of a block.
    #[inline(always)]
    fn sums(&mut self, block: usize) -> &mut [f32] {
        let len = (self.vertical.taps * self.horizontal.taps + 1) * LANES;
        &mut self.sums[block * len..(block + 1) * len]
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
    task: &'a mut Task<'b, T>,
    tap: usize,
}

impl<T, const R: usize, const KW: usize, const STEP: usize> Kernel for Fixed<'_, '_, T, R, KW, STEP>
where
    T: Number,
{
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // More sums than there are registers are not used, and not compiled.
        if const { R > 1 && S::SUMS < SUMS } {
            return;
        }
        let Fixed { task, tap } = self;
        let zeros = &zeros::<T>();
        for block in 0..task.blocks.count() {
            let start = task.blocks.start(block);
            let mut sums = [[simd.zero(); KW]; R];
            let mut row = task.place();
            while row[0] < task.band.end {
                let products = task.products::<R>(start, row, tap);
                // SAFETY: these are rows of `x`, of `grad_y` or of zeros, and the lengths have been
                // checked against the geometry; a block has 16 channels.
                sums = unsafe { products.run::<S, KW, STEP>(simd, zeros, sums) };
                row = task.next(row);
            }
            let rows = R.min(task.vertical.taps - tap);
            let to = &mut task.sums(block)[tap * KW * LANES..];
            for (sums, to) in sums.iter().zip(to.chunks_exact_mut(KW * LANES)).take(rows) {
                for (k, sum) in sums.iter().enumerate() {
                    add_to(simd, &mut to[k * LANES..], *sum);
                }
            }
        }
    }
}

/// Any other kernel, one tap at a time.
struct Any<'a, 'b, T>(&'a mut Task<'b, T>);

impl<T: Number> Kernel for Any<'_, '_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let task = self.0;
        let (lanes, width) = (task.blocks.lanes(), task.horizontal.taps);
        for block in 0..task.blocks.count() {
            let start = task.blocks.start(block);
            for tap in 0..task.vertical.taps * width {
                let mut sum = simd.zero();
                let column =
                    task.horizontal.origin + (tap % width * task.horizontal.dilation) as isize;
                let mut row = task.place();
                while row[0] < task.band.end {
                    let products = task.products::<1>(start, row, tap / width);
                    // SAFETY: as above, but for a block of `lanes` channels.
                    sum = unsafe { products.run_any(simd, sum, column, lanes) };
                    row = task.next(row);
                }
                add_to(simd, &mut task.sums(block)[tap * LANES..], sum);
            }
        }
    }
}

/// The sums of `grad_y`.
struct Bias<'a, 'b, T>(&'a mut Task<'b, T>);

impl<T: Number> Kernel for Bias<'_, '_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let task = self.0;
        let (lanes, channels) = (task.blocks.lanes(), task.blocks.channels);
        let row = task.horizontal.outputs * channels;
        let pixels = &task.grad_y[task.band.start * row..task.band.end * row];
        let bias = task.vertical.taps * task.horizontal.taps * LANES;
        for block in 0..task.blocks.count() {
            let start = task.blocks.start(block);
            let mut sum = simd.zero();
            for pixel in pixels.chunks_exact(channels) {
                // SAFETY: a pixel has `lanes` channels from the block's start on.
                let value = unsafe { load_lanes(simd, pixel[start..].as_ptr(), lanes) };
                sum = simd.add(sum, value);
            }
            add_to(simd, &mut task.sums(block)[bias..], sum);
        }
    }
}
