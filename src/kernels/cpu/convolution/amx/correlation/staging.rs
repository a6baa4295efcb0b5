//! Copies the source of a unit into the scratch.

use std::ops::Range;

use half::bf16;

use super::super::pixels::Pixels;
use super::layout::Layout;
use super::plan::{Plan, Unit};
use crate::cpu::{Simd, ROW_WORDS};
use crate::kernels::cpu::convolution::Load;

/// Numbers of a word.
const PER_WORD: usize = 2;

/// Fills the scratch of a unit. What lies beside the rows of the source, and the numbers of a line
/// without a channel, have to be zero in the scratch and stay so.
pub(super) struct Staging<'a> {
    pub plan: &'a Plan,
    pub layout: &'a Layout,
    pub unit: &'a Unit,
    /// The source from the first channel of the group on.
    pub source: &'a [bf16],
    /// A scale and a shift for each channel of the group.
    pub load: Option<Load<'a>>,
    pub scratch: *mut u32,
    /// Room for a row with its padding (see [`Plan::padded`]), zero where padding is.
    pub padded: *mut bf16,
}

/// The columns of one remainder modulo the step.
struct Columns {
    remainder: usize,
    /// Those that lie inside the source.
    inside: Range<usize>,
}

impl Plan {
    /// Numbers of a row of the source with its padding, where taps are contracted together.
    pub(super) fn padded(&self) -> usize {
        let (least, most) = self.horizontal.reach();
        let columns =
            (self.horizontal.count() - 1) * self.horizontal.step + (most - least) as usize;
        // The last columns are read although no output needs them.
        if self.fold.folds() {
            (columns + self.horizontal.step) * self.fold.channels
        } else {
            0
        }
    }
}

impl Staging<'_> {
    /// # Safety
    /// The scratch has the layout, and the pointers the room that their fields say.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(&self, simd: S) {
        let (vertical, horizontal) = (&self.plan.vertical, &self.plan.horizontal);
        let top = (self.unit.rows.start * vertical.step) as isize + vertical.reach().0;
        let used = vertical.used();
        let remainders = horizontal.used();
        let remainders = remainders.iter().enumerate().filter(|(_, &used)| used);
        let columns: Vec<Columns> =
            remainders.map(|(remainder, _)| self.columns(remainder)).collect();
        let rows = self.layout.rows + self.plan.fold.taps[0] - 1;
        for image in 0..self.layout.images {
            for row in (0..rows).filter(|row| used[row % used.len()]) {
                let source = self.row(image, top + row as isize);
                unsafe {
                    match self.plan.fold.folds() {
                        false => self.planes(simd, image, row, source, &columns),
                        true => self.folded(simd, image, row, source, &columns),
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn columns(&self, remainder: usize) -> Columns {
        let horizontal = &self.plan.horizontal;
        let left = horizontal.reach().0 + remainder as isize;
        // The first column at pixel `at` of the source or after it.
        let first = |at: isize| {
            let step = horizontal.step as isize;
            let column = (at - left + step - 1).div_euclid(step);
            (column.max(0) as usize).min(self.layout.columns)
        };
        let start = first(0);
        Columns { remainder, inside: start..first(horizontal.source as isize).max(start) }
    }

    /// Numbers from pixel to pixel of the source.
    #[inline(always)]
    fn pixel(&self) -> usize {
        self.plan.groups * self.plan.fold.channels
    }

    /// Row `y` of the source, unless it is padding.
    #[inline(always)]
    fn row(&self, image: usize, y: isize) -> Option<&[bf16]> {
        let (height, width) = (self.plan.vertical.source, self.plan.horizontal.source);
        if !(0..height as isize).contains(&y) {
            return None;
        }
        let line = width * self.pixel();
        let start = ((self.unit.first_image + image) * height + y as usize) * line;
        Some(&self.source[start..start + line - self.pixel() + self.plan.fold.channels])
    }

    /// The line of column 0 of a row of the scratch.
    #[inline(always)]
    fn line(&self, plane: usize, row: usize, remainder: usize, image: usize) -> *mut bf16 {
        let word = plane * self.layout.plane + row * self.layout.row + self.layout.run(remainder);
        self.scratch.wrapping_add(word + image * ROW_WORDS).cast()
    }

    /// Copies a row of which each plane has some channels.
    #[inline(always)]
    unsafe fn planes<S: Simd>(
        &self,
        simd: S,
        image: usize,
        row: usize,
        source: Option<&[bf16]>,
        columns: &[Columns],
    ) {
        let (plan, pixel) = (self.plan, self.layout.pixel() * PER_WORD);
        for plane in 0..plan.fold.planes() {
            let channels = plan.fold.plane_channels(plane);
            for Columns { remainder, inside } in columns.iter().filter(|c| !c.inside.is_empty()) {
                let to = self.line(plane, row, *remainder, image);
                let to = to.wrapping_add(inside.start * pixel);
                let Some(source) = source else {
                    unsafe { zero(to, inside.len(), pixel) };
                    continue;
                };
                let left = plan.horizontal.reach().0 + *remainder as isize;
                let first = (inside.start * plan.horizontal.step) as isize + left;
                let from = &source[first as usize * self.pixel() + channels.start..];
                let pixels = Pixels {
                    count: inside.len(),
                    numbers: channels.len(),
                    from: from.as_ptr(),
                    stride: plan.horizontal.step * self.pixel(),
                    to,
                    pixel,
                };
                unsafe { pixels.copy_loaded(simd, self.load, channels.clone()) };
            }
        }
    }

    /// Copies a row whose pixels are part of the lines of several pixels: first to a row of its
    /// own, with its padding, from which each line then gets a run of pixels.
    #[inline(always)]
    unsafe fn folded<S: Simd>(
        &self,
        simd: S,
        image: usize,
        row: usize,
        source: Option<&[bf16]>,
        columns: &[Columns],
    ) {
        let (plan, channels) = (self.plan, self.plan.fold.channels);
        let [rows, taps] = plan.fold.taps;
        let padding = (-plan.horizontal.reach().0).max(0) as usize;
        let skipped = plan.horizontal.reach().0.max(0) as usize;
        let room = plan.padded() / channels;
        let count =
            plan.horizontal.source.saturating_sub(skipped).min(room.saturating_sub(padding));
        unsafe {
            let to = self.padded.wrapping_add(padding * channels);
            match source.filter(|_| count > 0) {
                None => std::ptr::write_bytes(to, 0, count * channels),
                Some(source) => {
                    let from = source[skipped * self.pixel()..].as_ptr();
                    let (stride, pixel) = (self.pixel(), channels);
                    let pixels = Pixels { count, numbers: channels, from, stride, to, pixel };
                    pixels.copy_loaded(simd, self.load, 0..channels);
                }
            }
            // The row is row 0 of the lines of its own row, row 1 of those of the row above.
            for above in 0..rows.min(row + 1) {
                if row - above >= self.layout.rows {
                    continue;
                }
                for Columns { remainder, .. } in columns {
                    let to = self.line(0, row - above, *remainder, image);
                    let numbers = taps * channels;
                    let pixels = Pixels {
                        count: self.layout.columns,
                        numbers,
                        from: self.padded.wrapping_add(remainder * channels),
                        stride: plan.horizontal.step * channels,
                        to: to.wrapping_add(above * numbers),
                        pixel: self.layout.pixel() * PER_WORD,
                    };
                    pixels.copy();
                }
            }
        }
    }
}

/// Fills the lines of `count` pixels with zeros.
#[inline(always)]
unsafe fn zero(to: *mut bf16, count: usize, pixel: usize) {
    for i in 0..count {
        unsafe { to.add(i * pixel).cast::<[u32; ROW_WORDS]>().write([0; ROW_WORDS]) };
    }
}
