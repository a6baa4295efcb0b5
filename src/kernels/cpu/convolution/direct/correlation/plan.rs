//! How a correlation is divided into tasks, which depends on the shape alone.

use std::ops::Range;

use super::super::words::{Words, PIXEL};
use super::layout::Layout;
use super::microkernel::tile_pixels;
use crate::cpu::LANES;
use crate::kernels::cpu::convolution::axis::{Axis, Phase};
use crate::kernels::cpu::convolution::{Geometry, Operand};

/// Bytes of a scratch: together with the weights of two blocks, it fits into the second-level
/// cache.
const SCRATCH: usize = 320 * 1024;

/// Bounds of the number of tasks. More than `TASKS` cost more than they gain; with fewer than
/// `FEWEST` threads would be idle at the end.
const TASKS: usize = 48;
const FEWEST: usize = 16;

/// Rows are long enough if tiles have `TILE` pixels, or rows themselves `LONG`.
const TILE: usize = 12;
const LONG: usize = 64;

/// The output is divided into *units* (bands of rows of some images) and *ranges* of output
/// channels. A task computes one *part*, which is some units, of one range.
#[derive(Clone, Debug)]
pub(in super::super) struct Plan {
    pub batch: usize,
    pub vertical: Axis,
    pub horizontal: Axis,
    pub groups: usize,
    /// Output channels of a group.
    pub channels: usize,
    pub out_size: [usize; 2],
    pub words: Words,
    /// Words of the packed weight of a block of 16 output channels.
    pub block: usize,
    /// Images of a unit; the last unit may have fewer.
    images: usize,
    /// Rows of outputs of a unit, in each phase.
    band: usize,
    /// Blocks of output channels of a task.
    blocks: usize,
    /// Units of a task.
    units: usize,
}

/// A band of output rows of some images, with a source that fits into the scratch.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub first_image: usize,
    pub images: usize,
    /// Indices of output rows within each phase.
    pub rows: Range<usize>,
}

impl Plan {
    /// A plan for `groups` groups of this geometry.
    pub(in super::super) fn new(
        geometry: &Geometry,
        groups: usize,
        operand: Operand,
        per_word: usize,
    ) -> Plan {
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
        plan.divide();
        plan
    }

    /// Chooses the sizes of units, parts and ranges.
    fn divide(&mut self) {
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

        // Each range of output channels stages the source again, so there are several only if there
        // are too few tasks without them.
        let units = self.all_units();
        let all = self.channels.div_ceil(LANES);
        let ranges = FEWEST.div_ceil(units);
        self.blocks = all.div_ceil(ranges).next_multiple_of(2).min(all);
        self.units = units.div_ceil(TASKS.div_ceil(self.ranges()));
    }

    /// Whether rows of so many pixels are too short, so that more images should be joined.
    fn wants_more(&self, pixels: usize) -> bool {
        // A single block of channels is fastest in runs of taps, which work on one image.
        let single = self.channels <= LANES && pixels >= LANES;
        !single && pixels < LONG && tile_pixels(pixels, 2) < TILE
    }

    fn fits(&self, images: usize, band: usize) -> bool {
        self.layout(images, band).len(self.words) * size_of::<u32>() <= SCRATCH
    }

    /// Number of ranges of the output channels.
    pub(super) fn ranges(&self) -> usize {
        self.channels.div_ceil(LANES).div_ceil(self.blocks)
    }

    /// Number of parts of the images and rows.
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

    /// Output channels of a range, in a group; the last range may have fewer.
    pub(super) fn range_channels(&self) -> usize {
        self.blocks * LANES
    }

    /// Output channels of a range, in all groups.
    pub(super) fn columns(&self) -> usize {
        self.groups * self.range_channels()
    }

    /// Elements from pixel to pixel of the output.
    pub(super) fn pixel(&self) -> usize {
        self.groups * self.channels
    }

    /// The units of a part.
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

    /// Number of outputs of each channel in a part.
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
}

const _: () = assert!(PIXEL <= LANES);
