//! Copies the source of the next unit, a little after each step of the products of this one: the
//! core copies while its tiles are multiplied.

use half::bf16;

use super::super::pixels::prefetch_ahead;
use super::super::DEPTH;
use super::layout::Layout;
use super::plan::{Plan, Unit};
use crate::cpu::{Simd, LANES, ROW_WORDS};
use crate::kernels::cpu::activation::SimdActivation;
use crate::kernels::cpu::convolution::Load;

/// A line of a unit's scratch, and its place in the source.
#[derive(Clone, Copy)]
struct Line {
    /// Numbers from the first pixel of the unit's top row, which may be padding.
    from: u32,
    /// Words from the start of the scratch.
    to: u32,
    plane: u32,
}

/// All lines of the units of a layout that hold pixels of the source, row by row.
pub(super) struct Lines {
    lines: Vec<Line>,
    /// The number of lines of the rows before each row.
    before: Vec<usize>,
}

impl Plan {
    /// Whether a unit can be copied during the products of the one before: lines are those of
    /// pixels of one group, and whole.
    pub(super) fn copies_ahead(&self) -> bool {
        self.groups == 1 && self.fold.channels.is_multiple_of(DEPTH)
    }

    /// The lines of a layout; none if no unit is copied ahead.
    pub(super) fn lines(&self, layout: &Layout, ahead: bool) -> Lines {
        let (vertical, horizontal, channels) =
            (&self.vertical, &self.horizontal, self.fold.channels);
        let rows = if ahead { layout.rows } else { 0 };
        let (used_rows, used) = (vertical.used(), horizontal.used());
        let (mut lines, mut before) = (Vec::new(), vec![0]);
        for row in 0..rows {
            let planes = if used_rows[row % used_rows.len()] { self.fold.planes() } else { 0 };
            for (image, plane) in (0..layout.images).flat_map(|i| (0..planes).map(move |p| (i, p)))
            {
                for column in 0..layout.columns * horizontal.step {
                    let (remainder, place) = (column % horizontal.step, column / horizontal.step);
                    let pixel = horizontal.reach().0 + column as isize;
                    let inside = (0..horizontal.source as isize).contains(&pixel);
                    if !inside || !used[remainder] {
                        continue;
                    }
                    let row_of_source = (image * vertical.source + row) * horizontal.source;
                    let from = (row_of_source + pixel as usize) * channels + plane * DEPTH;
                    let to = plane * layout.plane + row * layout.row + layout.run(remainder);
                    let to = to + place * layout.pixel() + image * ROW_WORDS;
                    lines.push(Line { from: from as u32, to: to as u32, plane: plane as u32 });
                }
            }
            before.push(lines.len());
        }
        Lines { lines, before }
    }
}

/// What is still to be copied.
pub(super) struct Ahead<'a, S> {
    simd: S,
    lines: &'a [Line],
    /// Lines that are copied after each step.
    each: usize,
    from: *const bf16,
    to: *mut u32,
    load: Option<(Load<'a>, SimdActivation)>,
}

impl<'a, S: Simd> Ahead<'a, S> {
    /// Nothing to copy.
    #[inline(always)]
    pub(super) fn nothing(simd: S) -> Ahead<'a, S> {
        let (from, to) = (std::ptr::null(), std::ptr::null_mut());
        Ahead { simd, lines: &[], each: 0, from, to, load: None }
    }

    /// The pixels of a unit, to be copied within a number of steps. Rows of padding are filled with
    /// zeros at once.
    ///
    /// # Safety
    /// The lines are those of the unit's layout, which the scratch `to` has room for.
    #[inline(always)]
    pub(super) unsafe fn new(
        simd: S,
        plan: &Plan,
        layout: &Layout,
        (lines, unit, steps): (&'a Lines, &Unit, usize),
        (source, load): (&'a [bf16], Option<Load<'a>>),
        to: *mut u32,
    ) -> Ahead<'a, S> {
        let (height, width) = (plan.vertical.source as isize, plan.horizontal.source as isize);
        let top = (unit.rows.start * plan.vertical.step) as isize + plan.vertical.reach().0;
        let row = |y: isize| (y - top).clamp(0, layout.rows as isize) as usize;
        let (first, end) = (row(0), row(height).max(row(0)));
        for padding in (0..first).chain(end..layout.rows) {
            for plane in 0..plan.fold.planes() {
                let start = plane * layout.plane + padding * layout.row;
                // SAFETY: a row of the scratch.
                unsafe { std::ptr::write_bytes(to.add(start), 0, layout.row) };
            }
        }
        let lines = &lines.lines[lines.before[first]..lines.before[end]];
        let start = (unit.first_image as isize * height + top) * width;
        let from = source.as_ptr().wrapping_offset(start * plan.fold.channels as isize);
        let load = load.map(|load| (load, load.activation.simd()));
        Ahead { simd, lines, each: lines.len().div_ceil(steps.max(1)), from, to, load }
    }

    /// Copies some lines.
    ///
    /// # Safety
    /// The slices that `new` was given are still there.
    #[inline(always)]
    pub(super) unsafe fn step(&mut self) {
        for _ in 0..self.each {
            let Some((line, later)) = self.lines.split_first() else { return };
            self.lines = later;
            unsafe { self.copy(*line) };
        }
    }

    /// Copies all lines that are left.
    ///
    /// # Safety
    /// As for `step`.
    #[inline(always)]
    pub(super) unsafe fn finish(&mut self) {
        self.each = self.lines.len();
        unsafe { self.step() };
    }

    #[inline(always)]
    unsafe fn copy(&self, line: Line) {
        let from = self.from.wrapping_add(line.from as usize);
        prefetch_ahead(from);
        unsafe {
            let to = self.to.add(line.to as usize);
            let Some((load, activation)) = self.load else {
                let numbers = from.cast::<[u64; 8]>().read_unaligned();
                return to.cast::<[u64; 8]>().write(numbers);
            };
            let first = line.plane as usize * DEPTH;
            for half in [0, LANES] {
                let scale = self.simd.load_f32(load.scale.as_ptr().add(first + half));
                let shift = self.simd.load_f32(load.shift.as_ptr().add(first + half));
                let value = self.simd.load_bf16(from.add(half));
                let value = activation.apply(self.simd, self.simd.mul_add(value, scale, shift));
                self.simd.store_bf16(to.cast::<bf16>().add(half), value);
            }
        }
    }
}
