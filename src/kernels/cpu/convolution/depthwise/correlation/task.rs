//! One task: its rows of outputs, band by band.

use std::ops::Range;

use super::super::columns::zeros;
use super::super::plan::Plan;
use super::microkernel::Line;
use super::moments::add_moments;
use super::operands::Correlation;
use super::phase::Phase;
use crate::cpu::{dispatch, Kernel, Number, Simd, LANES};
use crate::kernels::cpu::convolution::Moments;

/// Values of a channel that are worth merging into the moments of those before.
const MOMENT_VALUES: usize = 256;

/// The rows of a part of the output.
pub(super) struct Task<'a, 'b, T> {
    pub correlation: &'a Correlation<'b, T>,
    pub plan: &'a Plan,
    pub index: usize,
    pub y: &'a mut [T],
}

impl<T: Number> Task<'_, '_, T> {
    /// Computes the rows, band by band.
    pub(super) fn run(self) {
        let first = self.index * self.plan.part();
        for band in self.plan.bands(self.index) {
            self.correlation.rows(band, self.y, first);
        }
    }

    /// The same, and returns the moments of the rows. They are taken while the bands are in the
    /// cache.
    pub(super) fn run_with_moments(self) -> Moments {
        let Task { correlation, plan, index, y } = self;
        let (channels, first) = (correlation.blocks.channels, index * plan.part());
        let mut moments = Moments::new(channels);
        let mut waiting = 0;
        for band in plan.bands(index) {
            correlation.rows(band.clone(), y, first);
            let made = (band.end - first) * correlation.row_len();
            if made - waiting >= MOMENT_VALUES * channels || made == y.len() {
                add_moments(&mut moments, channels, &y[waiting..made]);
                waiting = made;
            }
        }
        moments
    }
}

impl<T: Number> Correlation<'_, T> {
    /// Computes a band of rows into `y`, which starts with row `first`.
    fn rows(&self, band: Range<usize>, y: &mut [T], first: usize) {
        debug_assert!(y.len() >= (band.end - first) * self.row_len());
        for horizontal in 0..self.phases[1] {
            self.phase(&mut Band { correlation: self, horizontal, rows: band.clone(), y, first });
        }
    }

    /// Selects the microkernel, which is the same for all vertical phases of a horizontal one.
    fn phase(&self, band: &mut Band<T>) {
        let axis = self.all[band.horizontal].horizontal;
        match (axis.taps, axis.step) {
            _ if self.blocks.lanes() < LANES || !axis.is_plain() => dispatch(Any(band)),
            (1, 1) => dispatch(Fixed::<T, 1, 1>(band)),
            (2, 1) => dispatch(Fixed::<T, 2, 1>(band)),
            (3, 1) => dispatch(Fixed::<T, 3, 1>(band)),
            (5, 1) => dispatch(Fixed::<T, 5, 1>(band)),
            (7, 1) => dispatch(Fixed::<T, 7, 1>(band)),
            (3, 2) => dispatch(Fixed::<T, 3, 2>(band)),
            (5, 2) => dispatch(Fixed::<T, 5, 2>(band)),
            _ => dispatch(Any(band)),
        }
    }
}

/// One horizontal phase of a band of rows.
struct Band<'a, 'b, T> {
    correlation: &'a Correlation<'b, T>,
    horizontal: usize,
    rows: Range<usize>,
    y: &'a mut [T],
    /// The first row of `y`.
    first: usize,
}

impl<T: Number> Band<'_, '_, T> {
    /// The image of the band's first row, and the row within it.
    #[inline(always)]
    fn place(&self) -> (usize, usize) {
        let height = self.correlation.out_size[0];
        (self.rows.start / height, self.rows.start % height)
    }

    /// What all rows of a block have in common; `aim` sets the rest.
    #[inline(always)]
    fn line(&self, block: usize) -> Line<T> {
        let correlation = self.correlation;
        let channels = correlation.blocks.channels;
        let Phase { vertical, horizontal, weight } = &correlation.all[self.horizontal];
        Line {
            x: correlation.x.as_ptr(),
            rows: 0,
            row_step: vertical.dilation * correlation.in_size[1] * channels,
            columns: horizontal.inputs,
            pixel: channels,
            origin: horizontal.origin,
            step: horizontal.step,
            taps: horizontal.taps,
            dilation: horizontal.dilation,
            weight: weight.as_ptr(),
            bias: correlation.bias.as_ref().map(|bias| bias[block * LANES..].as_ptr()),
            add: None,
            activation: correlation.activation.simd(),
            y: std::ptr::null_mut(),
            outputs: horizontal.outputs,
            y_step: correlation.phases[1] * channels,
            lanes: correlation.blocks.lanes(),
        }
    }

    /// Points the microkernel at `row`, which is row `i` of `image`.
    #[inline(always)]
    fn aim(&mut self, line: &mut Line<T>, block: usize, row: usize, image: usize, i: usize) {
        let correlation = self.correlation;
        let channels = correlation.blocks.channels;
        let start = correlation.blocks.start(block);
        let (phase, met) = correlation.met[i];
        let phase = &correlation.all[phase * correlation.phases[1] + self.horizontal];
        let out_start = self.horizontal * channels + start;
        let in_row = image * correlation.in_size[0] + met.input;

        let x = in_row * correlation.in_size[1] * channels + start;
        let weight = (block * phase.vertical.taps + met.tap) * line.taps * LANES;
        let y = (row - self.first) * correlation.row_len() + out_start;
        let add = row * correlation.row_len() + out_start;
        line.x = correlation.x.as_ptr().wrapping_add(x);
        line.rows = met.taps;
        line.weight = phase.weight.as_ptr().wrapping_add(weight);
        line.y = self.y.as_mut_ptr().wrapping_add(y);
        line.add = correlation.add.map(|all| all.as_ptr().wrapping_add(add));
    }

    /// The row after row `i` of `image`.
    #[inline(always)]
    fn next(&self, image: usize, i: usize) -> (usize, usize) {
        match i + 1 == self.correlation.out_size[0] {
            true => (image + 1, 0),
            false => (image, i + 1),
        }
    }
}

/// A band for a kernel that is `KW` wide, at a distance of `STEP` source pixels between outputs.
struct Fixed<'a, 'b, 'c, T, const KW: usize, const STEP: usize>(&'a mut Band<'b, 'c, T>);

impl<T: Number, const KW: usize, const STEP: usize> Kernel for Fixed<'_, '_, '_, T, KW, STEP> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (band, zeros) = (self.0, &zeros::<T>());
        for block in 0..band.correlation.blocks.count() {
            let (mut image, mut i) = band.place();
            let mut line = band.line(block);
            for row in band.rows.clone() {
                band.aim(&mut line, block, row, image, i);
                // SAFETY: the rows of `x` lie inside the image, as the axes have found; the lengths
                // of the slices have been checked against the geometry; `y` has room for the band.
                unsafe { line.run::<S, KW, STEP>(simd, zeros) };
                (image, i) = band.next(image, i);
            }
        }
    }
}

/// A band for any other kernel.
struct Any<'a, 'b, 'c, T>(&'a mut Band<'b, 'c, T>);

impl<T: Number> Kernel for Any<'_, '_, '_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let band = self.0;
        for block in 0..band.correlation.blocks.count() {
            let (mut image, mut i) = band.place();
            let mut line = band.line(block);
            for row in band.rows.clone() {
                band.aim(&mut line, block, row, image, i);
                // SAFETY: as above.
                unsafe { line.run_any(simd) };
                (image, i) = band.next(image, i);
            }
        }
    }
}
