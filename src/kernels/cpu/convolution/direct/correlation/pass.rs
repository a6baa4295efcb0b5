//! A product, task by task.

use std::ops::Range;

use super::super::view::View;
use super::epilogue::{Finish, Shifted};
use super::layout::Layout;
use super::microkernel::{most_blocks, Rows};
use super::plan::{Plan, Strip, Unit};
use super::staging::Gather;
use crate::activation::Activation;
use crate::cpu::{dispatch, lend, run_all, Number, Parallel, Parts, LANES};
use crate::error::Result;
use crate::kernels::cpu::convolution::{Load, Moments};

/// A product whose slices have all been checked.
pub struct Product<'a, T> {
    pub plan: Plan,
    pub view: View,
    pub source: &'a [T],
    pub load: Option<Load<'a>>,
    /// Packed for this product; the same for all groups, as is the bias.
    pub weight: *const u32,
    pub bias: Option<&'a [f32]>,
    pub residual: Option<&'a [T]>,
    pub activation: Activation,
    pub statistics: bool,
}

/// An output that all tasks write to, each in places of its own.
struct Shared<T>(*mut T);

// SAFETY: the tasks write disjoint outputs: those of a unit and a range of channels each.
unsafe impl<T: Send> Sync for Shared<T> {}

/// One task: some units and some blocks of output channels.
struct Task<'a, T> {
    product: &'a Product<'a, T>,
    out: *mut T,
    /// As the product's, with whole blocks.
    bias: Option<&'a [f32]>,
    blocks: Range<usize>,
    moments: Option<Shifted>,
}

/// What a scratch holds.
struct Sources<'a> {
    unit: &'a Unit,
    group: usize,
    layout: &'a Layout,
    scratch: &'a [u32],
}

// SAFETY: the weight is read alone.
unsafe impl<T: Sync> Sync for Product<'_, T> {}

impl<T: Number> Product<'_, T> {
    /// Writes the output, which has been checked as well.
    pub fn run(&self, parallel: &dyn Parallel, out: &mut [T]) -> Result<Option<Moments>> {
        let plan = &self.plan;
        let (ranges, parts) = (plan.ranges(), plan.parts());
        let bias: Option<Vec<f32>> = self.bias.map(|bias| {
            let mut bias = bias.to_vec();
            bias.resize(bias.len().next_multiple_of(LANES), 0.0);
            bias
        });
        let columns = plan.columns();
        let slots = if self.statistics { ranges * parts } else { 0 };
        let mut partial = vec![0.0f64; slots * 2 * columns];
        let results = Parts::new(&mut partial, 2 * columns);
        let out = &Shared(out.as_mut_ptr());
        run_all(parallel, ranges * parts, |task| {
            let (range, part) = (task / parts, task % parts);
            let result = results.take(task);
            let Shared(out) = *out;
            self.task(range, part, bias.as_deref(), out, result);
        })?;
        Ok(self.statistics.then(|| self.merge(&partial)))
    }

    fn task(
        &self,
        range: usize,
        part: usize,
        bias: Option<&[f32]>,
        out: *mut T,
        result: &mut [f64],
    ) {
        let columns = self.plan.columns();
        lend(self.plan.scratch(), |scratch: &mut [u32]| {
            lend(3 * columns, |sums: &mut [f64]| {
                sums.fill(0.0);
                let (sum, rest) = sums.split_at_mut(columns);
                let (squares, pivot) = rest.split_at_mut(columns);
                let moments = self.statistics.then_some(Shifted {
                    pivot: pivot.as_mut_ptr().cast(),
                    sum: sum.as_mut_ptr(),
                    squares: squares.as_mut_ptr(),
                });
                let blocks = self.plan.blocks(range);
                Task { product: self, out, bias, blocks, moments }.run(part, scratch);
                if let Some(Shifted { pivot, .. }) = moments {
                    let (mean, deviation) = result.split_at_mut(columns);
                    let count = self.plan.count(part) as f64;
                    for i in 0..columns {
                        // SAFETY: there is a pivot for each column.
                        let pivot = f64::from(unsafe { pivot.add(i).read() });
                        let offset = sum[i] / count;
                        mean[i] = pivot + offset;
                        // Rounding can take it below zero; a NaN stays one.
                        let rest = squares[i] - sum[i] * offset;
                        deviation[i] = if rest < 0.0 { 0.0 } else { rest };
                    }
                }
            });
        });
    }

    /// The moments of all tasks, in order.
    fn merge(&self, partial: &[f64]) -> Moments {
        let plan = &self.plan;
        let (columns, width) = (plan.columns(), plan.range_channels());
        let mut all = Moments::new(plan.groups * plan.channels);
        for (range, results) in partial.chunks_exact(plan.parts() * 2 * columns).enumerate() {
            let mut total = Moments::new(columns);
            for (part, result) in results.chunks_exact(2 * columns).enumerate() {
                let (mean, squares) = result.split_at(columns);
                total.merge(plan.count(part) as f64, mean, squares);
            }
            all.count = total.count;
            let len = width.min(plan.channels - range * width);
            for group in 0..plan.groups {
                let to = group * plan.channels + range * width;
                let from = group * width..group * width + len;
                all.mean[to..to + len].copy_from_slice(&total.mean[from.clone()]);
                all.squares[to..to + len].copy_from_slice(&total.squares[from]);
            }
        }
        all
    }
}

impl<T: Number> Task<'_, T> {
    fn run(&self, part: usize, scratch: &mut [u32]) {
        let plan = &self.product.plan;
        let mut known: Option<(Layout, Vec<Strip>)> = None;
        for (i, unit) in plan.units(part).enumerate() {
            let layout = plan.layout(unit.images, unit.rows.len());
            let same = |(known, _): &(Layout, Vec<Strip>)| *known == layout;
            let (layout, strips) = match known.take().filter(same) {
                Some(known) => known,
                None => (layout.clone(), plan.strips(&layout)),
            };
            for group in 0..plan.groups {
                let Product { view, source, load, .. } = self.product;
                let first = group * view.channels;
                dispatch(Gather {
                    plan,
                    view: *view,
                    layout: &layout,
                    unit: &unit,
                    source: &source[first..],
                    load: load.map(|load| load.of(first..first + view.channels)),
                    scratch: &mut scratch[..layout.len(plan.words)],
                });
                let sources = Sources { unit: &unit, group, layout: &layout, scratch };
                self.multiply(&sources, &strips, i == 0);
            }
            known = Some((layout, strips));
        }
    }

    /// All outputs of the sources.
    fn multiply(&self, sources: &Sources, strips: &[Strip], fresh: bool) {
        let most = most_blocks();
        let mut block = self.blocks.start;
        while block < self.blocks.end {
            let blocks = most.min(self.blocks.end - block);
            let mut fresh = fresh;
            for strip in strips.iter().filter(|strip| sources.unit.rows.start < strip.rows) {
                let rows = self.rows(sources, strip, block, fresh);
                // SAFETY: the scratch is filled for all rows of the unit; the weight and the
                // output are those of the plan.
                unsafe { rows.run(blocks) };
                fresh = false;
            }
            block += blocks;
        }
    }

    /// The rows of a strip, from one block of output channels on.
    fn rows<'a>(
        &self,
        sources: &Sources,
        strip: &'a Strip,
        block: usize,
        fresh: bool,
    ) -> Rows<'a, T> {
        let Task { product, out, .. } = self;
        let Sources { unit, group, layout, scratch } = *sources;
        let plan = &product.plan;
        let channel = block * LANES;
        let start = plan.out_start(strip, unit) + group * plan.channels + channel;
        let within = group * plan.range_channels() + channel - self.blocks.start * LANES;
        let finish = Finish {
            bias: self.bias.map(|bias| bias[channel..].as_ptr()),
            residual: product.residual.map(|residual| residual[start..].as_ptr()),
            activation: product.activation,
            // SAFETY: the first output of the rows.
            out: unsafe { out.add(start) },
            out_row: plan.out_row(),
            pixels: &strip.pixels,
            channels: plan.channels - channel,
            // SAFETY: there is one of each for each channel of the task.
            moments: self.moments.map(|moments| unsafe {
                Shifted {
                    pivot: moments.pivot.add(within),
                    sum: moments.sum.add(within),
                    squares: moments.squares.add(within),
                }
            }),
            fresh,
        };
        Rows {
            source: scratch.as_ptr(),
            source_row: plan.vertical.step * layout.row,
            segments: &strip.segments,
            runs: strip.runs,
            words: plan.words.words,
            // SAFETY: the weight has this block and these taps.
            weights: unsafe { product.weight.add(block * plan.block + strip.weights) },
            block: plan.block,
            rows: unit.rows.end.min(strip.rows) - unit.rows.start,
            finish,
        }
    }
}
