//! Copies the source of a unit into the scratch.

use std::marker::PhantomData;
use std::ops::Range;

use super::super::view::View;
use super::super::words::PIXEL;
use super::layout::Layout;
use super::pixels::Pixels;
use super::plan::{Plan, Unit};
use crate::cpu::{Kernel, Number, Simd};
use crate::kernels::cpu::convolution::Load;

/// Fills the scratch of a unit, with zeros where the source has no pixels.
pub(super) struct Staging<'a, T, M> {
    pub plan: &'a Plan,
    pub view: View,
    pub layout: &'a Layout,
    pub unit: &'a Unit,
    /// The source from the first channel of the group on.
    pub source: &'a [T],
    /// A scale and a shift for each channel of the view.
    pub load: Option<Load<'a>>,
    pub scratch: &'a mut [u32],
    pub products: PhantomData<M>,
}

/// The columns of one remainder modulo the step: their places in a row of the source and of the
/// scratch.
struct Columns {
    /// The element of a row at which column 0 starts.
    from: isize,
    /// Elements from column to column.
    stride: usize,
    /// The word of a row of the scratch at which they start.
    to: usize,
    /// The columns that lie completely inside the source.
    inside: Range<usize>,
}

/// One row of such columns.
struct Run<'a, T> {
    /// The row of the source; empty if it is padding.
    row: &'a [T],
    from: isize,
    stride: usize,
    /// The word of the first plane to which column 0 is copied.
    to: usize,
    inside: Range<usize>,
}

impl<T: Number, M: Number> Kernel for Staging<'_, T, M> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let plan = self.plan;
        let (least, _) = plan.vertical.reach();
        let top = (self.unit.rows.start * plan.vertical.step) as isize + least;
        let used = plan.vertical.used();
        for (remainder, _) in plan.horizontal.used().iter().enumerate().filter(|(_, &used)| used) {
            let columns = self.columns(remainder);
            for image in 0..self.layout.images {
                for row in (0..self.layout.rows).filter(|row| used[row % used.len()]) {
                    let run = self.place(&columns, image, row, top + row as isize);
                    self.copy(simd, &run);
                }
            }
        }
    }
}

impl<'a, T: Number, M: Number> Staging<'a, T, M> {
    #[inline(always)]
    fn columns(&self, remainder: usize) -> Columns {
        let (horizontal, layout, view) = (&self.plan.horizontal, self.layout, self.view);
        let (left, _) = horizontal.reach();
        let from = view.origin + (left + remainder as isize) * view.pixel as isize;
        let stride = horizontal.step * view.pixel;
        // The first column that starts at `element` or later.
        let first = |element: isize| {
            let column = (element - from + stride as isize - 1).div_euclid(stride as isize);
            (column.max(0) as usize).min(layout.columns)
        };
        let start = first(0);
        let end = first((view.row + 1) as isize - view.channels as isize).max(start);
        Columns { from, stride, to: layout.run(remainder), inside: start..end }
    }

    /// Row `row` of the scratch, which is row `y` of the source.
    #[inline(always)]
    fn place(&self, columns: &Columns, image: usize, row: usize, y: isize) -> Run<'a, T> {
        let Columns { from, stride, to, ref inside } = *columns;
        let to = row * self.layout.row + to + image * PIXEL;
        let height = self.plan.vertical.source;
        if !(0..height as isize).contains(&y) {
            return Run { row: &[], from, stride, to, inside: 0..0 };
        }
        let start = ((self.unit.first_image + image) * height + y as usize) * self.view.line;
        let row = &self.source[start..start + self.view.row];
        Run { row, from, stride, to, inside: inside.clone() }
    }

    #[inline(always)]
    fn copy<S: Simd>(&mut self, simd: S, run: &Run<T>) {
        let per_plane = self.plan.words.words * M::PER_WORD;
        for plane in 0..self.plan.words.planes {
            let first = plane * per_plane;
            let channels = first..(first + per_plane).min(self.view.channels);
            let to = run.to + plane * self.layout.plane;
            for column in (0..run.inside.start).chain(run.inside.end..self.layout.columns) {
                self.edge(simd, run, to, column, channels.clone());
            }
            if !run.inside.is_empty() {
                let to = to * M::PER_WORD;
                self.elements(simd, run, to, run.inside.clone(), channels, per_plane);
            }
        }
    }

    /// Copies a pixel of which all or a part lies outside the row.
    #[inline(always)]
    fn edge<S: Simd>(
        &mut self,
        simd: S,
        run: &Run<T>,
        to: usize,
        column: usize,
        channels: Range<usize>,
    ) {
        self.scratch[to + column * self.layout.pixel()..][..PIXEL].fill(0);
        let from = run.from + (column * run.stride) as isize;
        let within = |element: isize| (element - from).max(0) as usize;
        let (start, end) = (within(0), within(run.row.len() as isize));
        let inside = start.max(channels.start)..end.min(channels.end);
        if !inside.is_empty() {
            let skipped = inside.start - channels.start;
            let padded = inside.len();
            let to = to * M::PER_WORD + skipped;
            self.elements(simd, run, to, column..column + 1, inside, padded);
        }
    }

    /// Copies some channels of some columns, where column 0 belongs at element `to`.
    #[inline(always)]
    fn elements<S: Simd>(
        &mut self,
        simd: S,
        run: &Run<T>,
        to: usize,
        columns: Range<usize>,
        channels: Range<usize>,
        padded: usize,
    ) {
        let pixel = self.layout.pixel() * M::PER_WORD;
        let from = run.from + (columns.start * run.stride + channels.start) as isize;
        let last = from as usize + (columns.len() - 1) * run.stride + channels.len();
        let row = &run.row[from as usize..last];
        let to = to + columns.start * pixel;
        let end = to + (columns.len() - 1) * pixel + padded;
        let scratch = &mut self.scratch[to / M::PER_WORD..end.div_ceil(M::PER_WORD)];
        let pixels = Pixels {
            count: columns.len(),
            channels: channels.len(),
            padded,
            from: row.as_ptr(),
            stride: run.stride,
            // SAFETY: within the slice, which begins with a word of which this is a part.
            to: unsafe { scratch.as_mut_ptr().cast::<M>().add(to % M::PER_WORD) },
            pixel,
        };
        match self.load {
            // SAFETY: both slices are as long as all pixels together.
            None => unsafe { pixels.copy(simd) },
            Some(load) => {
                let (scale, shift) = (&load.scale[channels.clone()], &load.shift[channels]);
                // SAFETY: as above, and there are a scale and a shift for each channel.
                unsafe { pixels.load(simd, scale, shift, load.activation.simd()) };
            }
        }
    }
}
