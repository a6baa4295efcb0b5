//! One task: some units and some blocks of output channels.

use std::marker::PhantomData;
use std::ops::Range;

use super::layout::Layout;
use super::microkernel::{most_blocks, Rows};
use super::operands::Correlation;
use super::plan::Unit;
use super::staging::Staging;
use super::strip::Strip;
use crate::cpu::{dispatch, Number, SharedSlice, LANES};
use crate::kernels::cpu::convolution::epilogue::Epilogue;
use crate::kernels::cpu::convolution::moments::Shifted;

/// The outputs of one part of the units and one range of the blocks of output channels.
pub(super) struct Task<'a, T, M> {
    pub correlation: &'a Correlation<'a, T, M>,
    /// Units and ranges of channels are disjoint, and so are the outputs that two tasks write.
    pub out: SharedSlice<'a, T>,
    /// The bias of the correlation, filled up with zeros to whole blocks.
    pub bias: Option<&'a [f32]>,
    pub blocks: Range<usize>,
    pub moments: Option<Shifted>,
}

/// A scratch that holds the source of a unit and a group.
struct Staged<'a> {
    unit: &'a Unit,
    group: usize,
    layout: &'a Layout,
    scratch: &'a [u32],
}

impl<T: Number, M: Number> Task<'_, T, M> {
    /// Computes the units of `part`.
    pub(super) fn run(&self, part: usize, scratch: &mut [u32]) {
        let plan = &self.correlation.plan;
        // Most units have the layout of the unit before, and so its strips.
        let mut known: Option<(Layout, Vec<Strip>)> = None;
        for (i, unit) in plan.units(part).enumerate() {
            let layout = plan.layout(unit.images, unit.rows.len());
            let same = |(known, _): &(Layout, Vec<Strip>)| *known == layout;
            let (layout, strips) = match known.take().filter(same) {
                Some(known) => known,
                None => (layout.clone(), plan.strips(&layout)),
            };
            for group in 0..plan.groups {
                let Correlation { view, source, load, .. } = self.correlation;
                let first = group * view.channels;
                dispatch(Staging::<T, M> {
                    plan,
                    view: *view,
                    layout: &layout,
                    unit: &unit,
                    source: &source[first..],
                    load: load.map(|load| load.of(first..first + view.channels)),
                    scratch: &mut scratch[..layout.len(plan.words)],
                    products: PhantomData,
                });
                let staged = Staged { unit: &unit, group, layout: &layout, scratch };
                self.multiply(&staged, &strips, i == 0);
            }
            known = Some((layout, strips));
        }
    }

    /// Computes all outputs of a staged unit. `fresh`: it is the first one of this task and group.
    fn multiply(&self, staged: &Staged, strips: &[Strip], fresh: bool) {
        let most = most_blocks();
        let mut block = self.blocks.start;
        while block < self.blocks.end {
            let blocks = most.min(self.blocks.end - block);
            let mut fresh = fresh;
            for strip in strips.iter().filter(|strip| staged.unit.rows.start < strip.rows) {
                let rows = self.rows(staged, strip, block, fresh);
                // SAFETY: the scratch is filled for all rows of the unit; the weight and the
                // output are those of the plan.
                unsafe { rows.run(blocks) };
                fresh = false;
            }
            block += blocks;
        }
    }

    /// The rows of a strip, from one block of output channels on, for the microkernel.
    fn rows<'a>(
        &self,
        staged: &Staged,
        strip: &'a Strip,
        block: usize,
        fresh: bool,
    ) -> Rows<'a, T, M> {
        let Task { correlation, out, .. } = self;
        let Staged { unit, group, layout, scratch } = *staged;
        let plan = &correlation.plan;
        let channel = block * LANES;
        let start = plan.out_start(strip, unit) + group * plan.channels + channel;
        let within = group * plan.range_channels() + channel - self.blocks.start * LANES;
        let epilogue = Epilogue {
            bias: self.bias.map(|bias| bias[channel..].as_ptr()),
            residual: correlation.residual.map(|residual| residual[start..].as_ptr()),
            activation: correlation.activation.simd(),
            // SAFETY: the first output of the rows.
            out: unsafe { out.at(start, 1) },
            out_row: plan.out_row(),
            pixels: &strip.pixels,
            channels: plan.channels - channel,
            // SAFETY: each of the three has an element for each channel of the task.
            moments: self.moments.map(|moments| unsafe { moments.from(within) }),
            fresh,
        };
        Rows {
            source: scratch.as_ptr(),
            source_row: plan.vertical.step * layout.row,
            segments: &strip.segments,
            runs: strip.runs,
            words: plan.words.words,
            // SAFETY: the weight has this block and these taps.
            weights: unsafe { correlation.weight.words().add(block * plan.block + strip.weights) },
            block: plan.block,
            rows: unit.rows.end.min(strip.rows) - unit.rows.start,
            epilogue,
            products: PhantomData,
        }
    }
}
