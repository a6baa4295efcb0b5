//! The products of a unit whose pixels have been copied, or are read where they are.

use std::ops::Range;

use half::bf16;

use super::ahead::Ahead;
use super::layout::Layout;
use super::microkernel::Products;
use super::operands::Correlation;
use super::outputs::Outputs;
use super::plan::{Plan, Unit};
use super::strip::Strip;
use crate::cpu::{SharedSlice, Simd, Tiles, LANES};
use crate::kernels::cpu::convolution::epilogue::Epilogue;
use crate::kernels::cpu::convolution::moments::Shifted;

/// A unit and a group whose pixels can be read.
pub(super) struct Staged<'a> {
    pub unit: &'a Unit,
    pub group: usize,
    pub layout: &'a Layout,
    pub pixels: *const u32,
    pub sums: *mut f32,
    /// It is the first one of this task and group.
    pub fresh: bool,
}

/// What all units of a task share.
pub(super) type Parts<'a> =
    (&'a Correlation<'a>, SharedSlice<'a, bf16>, Option<&'a [f32]>, Option<Shifted>);

impl Staged<'_> {
    /// Computes all outputs of the unit, two blocks of channels at a time.
    #[inline(always)]
    pub(super) unsafe fn blocks<S: Simd, T: Tiles>(
        &self,
        simd: S,
        tiles: &mut T,
        parts: Parts,
        strips: &[Strip],
        blocks: Range<usize>,
        ahead: &mut Ahead<S>,
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
                        true => outputs.two(
                            simd,
                            tiles,
                            products,
                            &mut epilogue,
                            (self.sums, &mut *ahead),
                        ),
                        false => outputs.one(
                            simd,
                            tiles,
                            products,
                            &mut epilogue,
                            (self.sums, &mut *ahead),
                        ),
                    }
                }
                fresh = false;
            }
            block += if two { 2 } else { 1 };
        }
    }

    /// The number of steps of all strips and so many blocks.
    #[inline(always)]
    pub(super) fn steps(&self, plan: &Plan, strips: &[Strip], blocks: usize) -> usize {
        let strips = strips.iter().filter(|strip| self.unit.rows.start < strip.rows);
        let steps = strips.map(|strip| {
            let rows = self.unit.rows.end.min(strip.rows) - self.unit.rows.start;
            Outputs::new(plan, self.layout, strip, rows).steps(strip, blocks)
        });
        steps.sum()
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
