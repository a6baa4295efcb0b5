//! How a product is cut into tasks. All of it depends on the shape alone.

use std::ops::Range;

use super::super::axis::{Axis, Phase, Tap};
use super::super::words::Words;
use super::super::PIXEL;
use super::layout::Layout;
use super::microkernel::tile_pixels;
use crate::cpu::LANES;
use crate::kernels::cpu::convolution::{Geometry, Operand};

/// Bytes of a scratch: with the weights of two blocks, it stays in the second-level cache.
const SCRATCH: usize = 320 * 1024;

/// More tasks would only cost; fewer than `FEWEST` would leave threads idle at the end.
const TASKS: usize = 48;
const FEWEST: usize = 16;

/// Tiles of so many pixels are good ones; rows of so many pixels are long enough.
const TILE: usize = 12;
const LONG: usize = 64;

#[derive(Clone, Debug)]
pub struct Plan {
    pub batch: usize,
    pub vertical: Axis,
    pub horizontal: Axis,
    pub groups: usize,
    /// Of the output, of a group.
    pub channels: usize,
    pub out_size: [usize; 2],
    pub words: Words,
    /// Words of a block of sixteen output channels of the weight.
    pub block: usize,
    /// Images that share a scratch; the last may be fewer.
    images: usize,
    /// Rows of outputs that share a scratch, of each phase.
    band: usize,
    /// Blocks of output channels of a task.
    blocks: usize,
    /// Scratches that a task fills.
    units: usize,
}

/// A part of the work: a band of some images.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub first_image: usize,
    pub images: usize,
    /// Numbers of outputs within each phase.
    pub rows: Range<usize>,
}

impl Plan {
    /// For so many groups of this geometry.
    pub fn new(geometry: &Geometry, groups: usize, operand: Operand, per_word: usize) -> Plan {
        let (source_channels, channels, out_size) = match operand {
            Operand::Forward => (geometry.in_channels, geometry.out_channels, geometry.out_size()),
            Operand::GradInput => (geometry.out_channels, geometry.in_channels, geometry.in_size),
        };
        let [vertical, horizontal] = [0, 1].map(|dim| Axis::new(geometry, operand, dim));
        let words = Words::new(source_channels, per_word);
        let taps = |axis: &Axis| axis.phases.iter().map(|phase| phase.taps.len()).sum::<usize>();
        let block = taps(&vertical) * taps(&horizontal) * words.planes * words.words * LANES;
        let mut plan = Plan {
            batch: geometry.batch,
            vertical,
            horizontal,
            groups,
            channels,
            out_size,
            words,
            block,
            images: 1,
            band: 1,
            blocks: 1,
            units: 1,
        };
        plan.cut();
        plan
    }

    fn cut(&mut self) {
        let (columns, rows) = (self.horizontal.count(), self.vertical.count());
        while self.wants_more(self.images * columns) && self.images * 2 <= self.batch {
            if !self.fits(self.images * 2, rows.div_ceil(2)) {
                break;
            }
            self.images *= 2;
        }
        let groups = self.batch.div_ceil(self.images);
        let highest = (1..=rows).rev().find(|&band| self.fits(self.images, band)).unwrap_or(1);
        let wanted = FEWEST.div_ceil(groups).min(rows.div_ceil(4));
        self.band = rows.div_ceil(rows.div_ceil(highest).max(wanted));

        // Each range of output channels fills the scratches anew, so ranges are for want of tasks.
        let units = self.all_units();
        let all = self.channels.div_ceil(LANES);
        let ranges = FEWEST.div_ceil(units);
        self.blocks = all.div_ceil(ranges).next_multiple_of(2).min(all);
        self.units = units.div_ceil(TASKS.div_ceil(self.ranges()));
    }

    /// Rows of so many pixels are better made longer, by more images.
    fn wants_more(&self, pixels: usize) -> bool {
        // One block of channels goes best in runs of taps, which take one image.
        let single = self.channels <= LANES && pixels >= LANES;
        !single && pixels < LONG && tile_pixels(pixels, 2) < TILE
    }

    fn fits(&self, images: usize, band: usize) -> bool {
        self.layout(images, band).len(self.words) * size_of::<u32>() <= SCRATCH
    }

    /// How many parts the output channels are cut into.
    pub(super) fn ranges(&self) -> usize {
        self.channels.div_ceil(LANES).div_ceil(self.blocks)
    }

    /// How many parts the images and rows are cut into.
    pub(super) fn parts(&self) -> usize {
        self.all_units().div_ceil(self.units)
    }

    fn bands(&self) -> usize {
        self.vertical.count().div_ceil(self.band)
    }

    fn all_units(&self) -> usize {
        self.batch.div_ceil(self.images) * self.bands()
    }

    /// The blocks of output channels of a range.
    pub(super) fn blocks(&self, range: usize) -> Range<usize> {
        let first = range * self.blocks;
        first..(first + self.blocks).min(self.channels.div_ceil(LANES))
    }

    /// Output channels of all ranges but the last, of a group.
    pub(super) fn range_channels(&self) -> usize {
        self.blocks * LANES
    }

    /// The same of all groups.
    pub(super) fn columns(&self) -> usize {
        self.groups * self.range_channels()
    }

    /// From pixel to pixel of the output.
    fn pixel(&self) -> usize {
        self.groups * self.channels
    }

    pub(super) fn units(&self, part: usize) -> impl Iterator<Item = Unit> + '_ {
        let first = part * self.units;
        (first..(first + self.units).min(self.all_units())).map(|unit| {
            let first_image = unit / self.bands() * self.images;
            let first_row = unit % self.bands() * self.band;
            Unit {
                first_image,
                images: self.images.min(self.batch - first_image),
                rows: first_row..(first_row + self.band).min(self.vertical.count()),
            }
        })
    }

    /// Outputs of each channel in a part.
    pub(super) fn count(&self, part: usize) -> usize {
        let per_row: usize = self.horizontal.phases.iter().map(|phase| phase.count).sum();
        let rows = |rows: &Range<usize>| {
            let within = |phase: &Phase| rows.end.min(phase.count).saturating_sub(rows.start);
            self.vertical.phases.iter().map(within).sum::<usize>()
        };
        self.units(part).map(|unit| unit.images * per_row * rows(&unit.rows)).sum()
    }

    pub(super) fn layout(&self, images: usize, band: usize) -> Layout {
        Layout::new([&self.vertical, &self.horizontal], images, band)
    }

    /// The largest scratch of a task, in words.
    pub(super) fn scratch(&self) -> usize {
        self.layout(self.images, self.band).len(self.words)
    }

    pub(super) fn strips(&self, layout: &Layout) -> Vec<Strip> {
        let mut weights = 0;
        let mut strips = Vec::new();
        for vertical in &self.vertical.phases {
            for horizontal in &self.horizontal.phases {
                let strip = self.strip(layout, vertical, horizontal, weights);
                weights += strip.segments.len() * self.words.words * LANES;
                strips.push(strip);
            }
        }
        strips
    }

    fn strip(
        &self,
        layout: &Layout,
        vertical: &Phase,
        horizontal: &Phase,
        weights: usize,
    ) -> Strip {
        let ((top, _), (left, _)) = (self.vertical.reach(), self.horizontal.reach());
        let step = self.horizontal.step;
        let mut taps = Vec::new();
        for v in &vertical.taps {
            let row = (v.offset - top) as usize * layout.row;
            let column = |h: &Tap| (h.offset - left) as usize;
            let at = |c: usize| row + layout.run(c % step) + c / step * layout.pixel();
            taps.extend(horizontal.taps.iter().map(column).map(at));
        }
        let planes = (0..self.words.planes).map(|plane| plane * layout.plane);
        let segments = planes.flat_map(|plane| taps.iter().map(move |tap| plane + tap)).collect();
        let neighbors = self.horizontal.step == 1
            && horizontal.taps.windows(2).all(|taps| taps[1].offset == taps[0].offset + 1);
        let image = self.out_size[0] * self.out_size[1] * self.pixel();
        let column = |i: usize| horizontal.first + i / layout.images * self.horizontal.out_step;
        let pixel = |i: usize| i % layout.images * image + column(i) * self.pixel();
        Strip {
            first_row: vertical.first,
            rows: vertical.count,
            weights,
            segments,
            runs: horizontal.taps.len() == 3 && neighbors && layout.pixel() == PIXEL,
            pixels: (0..horizontal.count * layout.images).map(pixel).collect(),
        }
    }

    /// The element at which the rows of a strip start in the output, for a unit.
    pub(super) fn out_start(&self, strip: &Strip, unit: &Unit) -> usize {
        let row = strip.first_row + unit.rows.start * self.vertical.out_step;
        (unit.first_image * self.out_size[0] + row) * self.out_size[1] * self.pixel()
    }

    /// From row to row of a strip.
    pub(super) fn out_row(&self) -> usize {
        self.vertical.out_step * self.out_size[1] * self.pixel()
    }
}

/// The outputs of two phases, row by row.
#[derive(Clone, Debug)]
pub(super) struct Strip {
    pub first_row: usize,
    pub rows: usize,
    /// Where its weights start in a block.
    pub weights: usize,
    /// For each plane and tap, where the first output of row 0 finds its pixel in the scratch.
    pub segments: Vec<usize>,
    /// The taps come in threes that show neighboring pixels.
    pub runs: bool,
    /// Where each output lies, from the row's start on; the source pixels are `PIXEL` words apart.
    pub pixels: Vec<usize>,
}

const _: () = assert!(PIXEL <= LANES);
