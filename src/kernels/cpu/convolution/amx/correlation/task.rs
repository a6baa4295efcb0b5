//! One task: some units and some blocks of output channels.

use std::ops::Range;

use half::bf16;

use super::ahead::{Ahead, Lines};
use super::layout::Layout;
use super::operands::Correlation;
use super::plan::Unit;
use super::staged::Staged;
use super::staging::Staging;
use super::strip::Strip;
use crate::cpu::{SharedSlice, Simd, TileKernel, Tiles, TILE_WORDS};
use crate::kernels::cpu::convolution::moments::Shifted;

/// Words of the sums of four tiles.
pub(super) const SUMS: usize = 4 * TILE_WORDS;

/// The outputs of one part of the units and one range of the blocks of output channels.
pub(super) struct Task<'a> {
    pub correlation: &'a Correlation<'a>,
    pub part: usize,
    pub blocks: Range<usize>,
    /// Units and ranges of channels are disjoint, and so are the outputs that two tasks write.
    pub out: SharedSlice<'a, bf16>,
    /// The bias of the correlation, filled up with zeros to whole blocks.
    pub bias: Option<&'a [f32]>,
    pub moments: Option<Shifted>,
    /// [`SUMS`] words, the scratch of the plan, and a padded row.
    pub memory: &'a mut [u32],
}

/// What all units of a layout share.
struct Known {
    layout: Layout,
    strips: Vec<Strip>,
    lines: Lines,
}

impl TileKernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd, T: Tiles>(mut self, simd: S, tiles: &mut T) {
        let plan = &self.correlation.plan;
        let (sums, rest) = std::mem::take(&mut self.memory).split_at_mut(SUMS);
        let (scratches, padded) = rest.split_at_mut(plan.scratches() * plan.scratch());
        padded.fill(0);
        let units: Vec<Unit> = plan.units(self.part).collect();
        let reads = self.correlation.reads_source();
        let ahead = plan.copies_ahead() && !reads && units.len() > 1;
        let mut known: Option<Known> = None;
        let mut copied = false;
        for (i, unit) in units.iter().enumerate() {
            let layout = self.layout(unit);
            // Most units have the layout of the unit before, and so its strips and its zeros.
            let same = known.take().filter(|known| known.layout == layout);
            let now = same.unwrap_or_else(|| {
                if !reads {
                    scratches.fill(0);
                }
                let (strips, lines) = (plan.strips(&layout), plan.lines(&layout, ahead));
                Known { layout, strips, lines }
            });
            let next = units.get(i + 1);
            let next = next.filter(|next| ahead && self.layout(next) == now.layout);
            let start = scratches.as_mut_ptr();
            let scratch = |i: usize| start.wrapping_add(i % plan.scratches() * plan.scratch());
            let turn = Turn {
                known: &now,
                unit,
                next,
                copied: copied || reads,
                fresh: i == 0,
                scratches: [scratch(i), scratch(i + 1)],
                padded: padded.as_mut_ptr().cast(),
                sums: sums.as_mut_ptr().cast(),
            };
            for group in 0..plan.groups {
                // SAFETY: a scratch is at least as large as the layout, and there are two if a unit
                // is copied ahead.
                unsafe { self.unit(simd, tiles, &turn, group) };
            }
            copied = next.is_some();
            known = Some(now);
        }
    }
}

/// A unit of a task, and the one that is copied meanwhile.
struct Turn<'a> {
    known: &'a Known,
    unit: &'a Unit,
    next: Option<&'a Unit>,
    /// The unit does not have to be copied any more.
    copied: bool,
    /// It is the first one of the task.
    fresh: bool,
    scratches: [*mut u32; 2],
    padded: *mut bf16,
    sums: *mut f32,
}

impl Task<'_> {
    /// Computes the outputs of one group of a unit.
    ///
    /// # Safety
    /// The scratches have room for the layout.
    #[inline(always)]
    unsafe fn unit<S: Simd, T: Tiles>(&self, simd: S, tiles: &mut T, turn: &Turn, group: usize) {
        let Correlation { plan, source, load, .. } = self.correlation;
        let Known { layout, strips, lines } = turn.known;
        let (unit, channels, [scratch, other]) = (turn.unit, plan.fold.channels, turn.scratches);
        let first = group * channels;
        let staging = Staging {
            plan,
            layout,
            unit,
            source: &source[first..],
            load: load.map(|load| load.of(first..first + channels)),
            scratch,
            padded: turn.padded,
        };
        let pixels = match self.correlation.reads_source() {
            true => {
                let row = unit.first_image * plan.vertical.source + unit.rows.start;
                let row = row * plan.horizontal.source * plan.groups * channels;
                source[row + first..].as_ptr().cast()
            }
            false => scratch.cast_const(),
        };
        let (sums, fresh) = (turn.sums, turn.fresh);
        let staged = Staged { unit, group, layout, pixels, sums, fresh };
        let parts = (self.correlation, self.out, self.bias, self.moments);
        // SAFETY: the scratch is filled for all rows of the unit, or the source has these rows; the
        // weight and the output are those of the plan.
        unsafe {
            if !turn.copied {
                staging.run(simd);
            }
            let mut ahead = Ahead::nothing(simd);
            if let Some(next) = turn.next {
                let steps = staged.steps(plan, strips, self.blocks.len());
                let from = (*source, *load);
                ahead = Ahead::new(simd, plan, layout, (lines, next, steps), from, other);
            }
            staged.blocks(simd, tiles, parts, strips, self.blocks.clone(), &mut ahead);
            ahead.finish();
        }
    }

    #[inline(always)]
    fn layout(&self, unit: &Unit) -> Layout {
        let plan = &self.correlation.plan;
        let (rows, width) = (unit.rows.len(), plan.horizontal.source);
        match self.correlation.reads_source() {
            true => Layout::of_source(rows, width, plan.source_pixel()),
            false => plan.layout(unit.images, rows),
        }
    }
}
