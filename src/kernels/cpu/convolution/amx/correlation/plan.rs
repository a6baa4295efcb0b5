//! How a correlation is divided into tasks, which depends on the shape alone.

use std::ops::Range;

use super::super::fold::Fold;
use super::super::DEPTH;
use super::layout::Layout;
use crate::cpu::{Shape, Shapes, LANES, ROWS, TILE_WORDS};
use crate::kernels::cpu::convolution::axis::{Axis, Phase};
use crate::kernels::cpu::convolution::{Geometry, Operand};

/// Bytes of a scratch, which is read once for every two blocks of output channels. Full tiles are
/// worth a larger one, and so are a few rows: neighboring units both stage the rows between them.
const SCRATCH: usize = 96 * 1024;
const JOINED: usize = 320 * 1024;
const FEWEST_ROWS: usize = 8;

/// Bounds of the number of tasks. More than `TASKS` cost more than they gain; with fewer than
/// `FEWEST` threads would be idle at the end.
const TASKS: usize = 48;
const FEWEST: usize = 16;

/// Tiles are full enough if so many of all their rows are used.
const FULL: f64 = 0.85;

/// The output is divided into *units* (bands of rows of some images) and *ranges* of output
/// channels. A task computes one *part*, which is some units, of one range.
#[derive(Clone, Debug)]
pub(in super::super) struct Plan {
    pub batch: usize,
    pub vertical: Axis,
    pub horizontal: Axis,
    pub fold: Fold,
    /// Columns of the kernel.
    pub kernel_width: usize,
    pub groups: usize,
    /// Output channels of a group.
    pub channels: usize,
    pub out_size: [usize; 2],
    /// Words of the packed weight of a block of 16 output channels.
    pub block: usize,
    /// Outputs of a tile.
    pub tile: usize,
    /// Images of a unit; the last unit may have fewer.
    images: usize,
    /// Rows of outputs of a unit, in each phase.
    band: usize,
    /// Blocks of output channels of a task.
    blocks: usize,
    /// Units of a task.
    units: usize,
}

/// A band of output rows of some images.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub first_image: usize,
    pub images: usize,
    /// Indices of output rows within each phase.
    pub rows: Range<usize>,
}

impl Plan {
    pub(in super::super) fn new(geometry: &Geometry, operand: Operand) -> Plan {
        let Geometry { batch, groups, .. } = *geometry;
        let group = geometry.of_group().joined_rows();
        let (source_channels, channels, out_size) = match operand {
            Operand::Forward => (group.in_channels, group.out_channels, group.out_size()),
            Operand::GradInput => (group.out_channels, group.in_channels, group.in_size),
        };
        let [vertical, horizontal] = [0, 1].map(|dim| Axis::new(&group, operand, dim));
        let fold = Fold::new(source_channels, &vertical, &horizontal);
        let kernel_width = group.kernel_size[1];
        let mut steps = 0;
        for v in &vertical.phases {
            let of = |h: &Phase| fold.steps(v, h, kernel_width).len();
            steps += horizontal.phases.iter().map(of).sum::<usize>();
        }
        let mut plan = Plan {
            batch,
            vertical,
            horizontal,
            fold,
            kernel_width,
            groups,
            channels,
            out_size,
            block: steps * TILE_WORDS,
            tile: 1,
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
        while self.images * 2 <= self.batch && wants_more(self.images * columns) {
            if self.bytes(self.images * 2, rows.div_ceil(2)) > JOINED {
                break;
            }
            self.images *= 2;
        }
        self.tile = tile(self.images * columns);
        let groups = self.batch.div_ceil(self.images);
        let fits = |&band: &usize| self.bytes(self.images, band) <= SCRATCH;
        let highest = (1..=rows).rev().find(fits).unwrap_or(1);
        let highest = highest.max(FEWEST_ROWS.min(rows));
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

    fn bytes(&self, images: usize, band: usize) -> usize {
        self.layout(images, band).len(self.fold.planes()) * size_of::<u32>()
    }

    /// The sizes of the tiles: 0 to 3 are sums, 4 and 5 pixels, 6 and 7 weights.
    pub(super) fn shapes(&self) -> Shapes {
        let pixels = Shape { rows: self.tile, ..Shape::WHOLE };
        std::array::from_fn(|tile| if tile < 6 { pixels } else { Shape::WHOLE })
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
        Layout::new([&self.vertical, &self.horizontal], &self.fold, images, band)
    }

    /// Whether the source can be read where it is, if its first pixel is aligned: the kernel is 1x1
    /// without stride and padding, pixels have whole lines, and tiles end with the rows.
    pub(super) fn reads_source(&self) -> bool {
        let plain = |axis: &Axis| {
            axis.step == 1 && axis.out_step == 1 && axis.reach() == (0, 0) && {
                axis.phases.iter().all(|phase| phase.count == axis.source)
            }
        };
        plain(&self.vertical)
            && plain(&self.horizontal)
            && self.fold.channels.is_multiple_of(DEPTH)
            && self.images == 1
            && self.horizontal.source.is_multiple_of(self.tile)
    }

    /// Words of a pixel of the source, in all groups.
    pub(super) fn source_pixel(&self) -> usize {
        self.groups * self.fold.channels / 2
    }

    /// The largest scratch of a unit, in words.
    pub(super) fn scratch(&self) -> usize {
        self.layout(self.images, self.band).len(self.fold.planes())
    }

    /// The number of scratches of a task.
    pub(super) fn scratches(&self) -> usize {
        if self.copies_ahead() {
            2
        } else {
            1
        }
    }
}

/// Outputs of a tile if a row of `len` is divided evenly.
fn tile(len: usize) -> usize {
    len.div_ceil(len.div_ceil(ROWS))
}

/// Whether the tiles of a row of so many outputs are too empty, so that more images should be
/// joined.
fn wants_more(len: usize) -> bool {
    (len as f64) < FULL * (len.div_ceil(ROWS) * ROWS) as f64
}
