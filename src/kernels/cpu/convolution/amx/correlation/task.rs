//! One task: some units and some blocks of output channels.

use std::ops::Range;

use half::bf16;

use super::layout::Layout;
use super::microkernel::Products;
use super::operands::Correlation;
use super::outputs::Outputs;
use super::plan::Unit;
use super::staging::Staging;
use super::strip::Strip;
use crate::cpu::{SharedSlice, Simd, TileKernel, Tiles, LANES, TILE_WORDS};
use crate::kernels::cpu::convolution::epilogue::Epilogue;
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

/// A unit and a group whose pixels can be read.
struct Staged<'a> {
    unit: &'a Unit,
    group: usize,
    layout: &'a Layout,
    pixels: *const u32,
    sums: *mut f32,
    /// It is the first one of this task and group.
    fresh: bool,
}

impl TileKernel for Task<'_> {
    #[inline(always)]
    fn run<S: Simd, T: Tiles>(self, simd: S, tiles: &mut T) {
        let Correlation { plan, source, load, .. } = self.correlation;
        let (sums, rest) = self.memory.split_at_mut(SUMS);
        let (scratch, padded) = rest.split_at_mut(plan.scratch());
        let sums = sums.as_mut_ptr().cast::<f32>();
        padded.fill(0);
        let channels = plan.fold.channels;
        let reads = self.correlation.reads_source();
        let mut known: Option<(Layout, Vec<Strip>)> = None;
        for (i, unit) in plan.units(self.part).enumerate() {
            let (rows, width) = (unit.rows.clone(), plan.horizontal.source);
            let layout = match reads {
                true => Layout::of_source(rows.len(), width, plan.source_pixel()),
                false => plan.layout(unit.images, rows.len()),
            };
            // Most units have the layout of the unit before, and so its strips and its zeros.
            let same = |(known, _): &(Layout, Vec<Strip>)| *known == layout;
            let (layout, strips) = match known.take().filter(same) {
                Some(known) => known,
                None => {
                    if !reads {
                        scratch.fill(0);
                    }
                    (layout.clone(), plan.strips(&layout))
                }
            };
            for group in 0..plan.groups {
                let first = group * channels;
                let scratch = scratch.as_mut_ptr();
                let staging = Staging {
                    plan,
                    layout: &layout,
                    unit: &unit,
                    source: &source[first..],
                    load: load.map(|load| load.of(first..first + channels)),
                    scratch,
                    padded: padded.as_mut_ptr().cast(),
                };
                let pixels = match reads {
                    true => {
                        let row = unit.first_image * plan.vertical.source + rows.start;
                        source[row * width * plan.groups * channels + first..].as_ptr().cast()
                    }
                    false => scratch.cast_const(),
                };
                let fresh = i == 0;
                let staged = Staged { unit: &unit, group, layout: &layout, pixels, sums, fresh };
                let parts = (self.correlation, self.out, self.bias, self.moments);
                // SAFETY: the scratch is at least as large as the layout and filled for all rows of
                // the unit, or the source has these rows; the weight and the output are those of
                // the plan.
                unsafe {
                    if !reads {
                        staging.run(simd);
                    }
                    staged.blocks(simd, tiles, parts, &strips, self.blocks.clone());
                }
            }
            known = Some((layout, strips));
        }
    }
}

/// What all units of a task share.
type Parts<'a> = (&'a Correlation<'a>, SharedSlice<'a, bf16>, Option<&'a [f32]>, Option<Shifted>);

impl Staged<'_> {
    /// Computes all outputs of the unit, two blocks of channels at a time.
    #[inline(always)]
    unsafe fn blocks<S: Simd, T: Tiles>(
        &self,
        simd: S,
        tiles: &mut T,
        parts: Parts,
        strips: &[Strip],
        blocks: Range<usize>,
    ) {
        let mut block = blocks.start;
        while block < blocks.end {
            let two = block + 2 <= blocks.end;
            let mut fresh = self.fresh;
            for strip in strips.iter().filter(|strip| self.unit.rows.start < strip.rows) {
                let within = (block - blocks.start) * LANES;
                let (products, mut epilogue) = self.strip(parts, strip, block, within, fresh);
                let rows = self.unit.rows.end.min(strip.rows) - self.unit.rows.start;
                let outputs = Outputs::new(&parts.0.plan, self.layout, strip, rows);
                unsafe {
                    match two {
                        true => outputs.two(simd, tiles, products, &mut epilogue, self.sums),
                        false => outputs.one(simd, tiles, products, &mut epilogue, self.sums),
                    }
                }
                fresh = false;
            }
            block += if two { 2 } else { 1 };
        }
    }

    /// The products of a strip from one block of output channels on, and what is done to them.
    /// `within`: the first channel of the block in the range of the task.
    #[inline(always)]
    fn strip<'a>(
        &self,
        (correlation, out, bias, moments): Parts<'a>,
        strip: &'a Strip,
        block: usize,
        within: usize,
        fresh: bool,
    ) -> (Products<'a>, Epilogue<'a, bf16>) {
        let plan = &correlation.plan;
        let channel = block * LANES;
        let start = plan.out_start(strip, self.unit) + self.group * plan.channels + channel;
        let within = self.group * plan.range_channels() + within;
        let epilogue = Epilogue {
            bias: bias.map(|bias| bias[channel..].as_ptr()),
            residual: correlation.residual.map(|residual| residual[start..].as_ptr()),
            activation: correlation.activation.simd(),
            // SAFETY: the first output of the rows.
            out: unsafe { out.at(start, 1) },
            out_row: plan.out_row(),
            pixels: &strip.pixels,
            channels: plan.channels - channel,
            // SAFETY: each of the three has an element for each channel of the task.
            moments: moments.map(|moments| unsafe { moments.from(within) }),
            fresh,
        };
        let products = Products {
            pixels: self.pixels,
            stride: self.layout.line * size_of::<u32>(),
            steps: &strip.steps,
            // SAFETY: the weight has this block and these steps.
            weights: unsafe { correlation.weight.add(block * plan.block + strip.weights) },
            block: plan.block,
        };
        (products, epilogue)
    }
}
