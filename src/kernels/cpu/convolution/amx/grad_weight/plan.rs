//! How the gradient is divided into tasks, which depends on the shape alone.

use std::ops::Range;

use super::layout::{wants_more, Layout};
use super::roll::TAPS;
use crate::cpu::{Shape, Shapes, LANES, TILE_WORDS};
use crate::kernels::cpu::convolution::Geometry;

/// Tasks that keep the threads of any machine busy. There are no more, because each of them may
/// take a partial gradient of its own.
const TASKS: usize = 16;

/// Numbers of input and of output channels of a task to choose from, and the most bytes of its
/// sums, which stay in the second-level cache.
const CHANNELS: [usize; 3] = [64, 128, 256];
const SUMS: usize = 832 * 1024;

/// Cycles to pack 16 channels of a pixel of `x` and of `grad_y`, to multiply two tiles, and to add
/// 16 elements of a partial gradient.
const PACK: [usize; 2] = [10, 7];
const MULTIPLY: usize = 16;
const MERGE: usize = 8;

/// Bytes of a strip, about, and the products of a sum in it that are enough: each strip loads and
/// stores all sums.
const STRIP: usize = 512 * 1024;
const ENOUGH: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The geometry of a group.
    pub geometry: Geometry,
    pub groups: usize,
    pub layout: Layout,
    /// Units of a strip.
    units: usize,
    /// Output and input channels of a task.
    channels: [usize; 2],
    /// Number of parts into which the strips are divided.
    pub parts: usize,
}

/// Output rows of some images.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub first_image: usize,
    pub images: usize,
    pub rows: Range<usize>,
}

impl Plan {
    pub(super) fn new(geometry: &Geometry) -> Plan {
        let groups = geometry.groups;
        let geometry = geometry.of_group().joined_rows();
        let [height, _] = geometry.out_size();
        let (channels, wanted) = division(&geometry, groups);
        let bytes = |layout: &Layout| {
            let tiles = |dim: usize, all: usize| all.min(channels[dim]).div_ceil(LANES);
            let y = tiles(0, geometry.out_channels) * layout.y_unit;
            4 * (y + tiles(1, geometry.in_channels) * layout.x_unit)
        };
        let fits =
            |images: usize, rows: usize| bytes(&Layout::new(&geometry, images, rows)) <= STRIP;
        let mut images = 1;
        while images * 2 <= geometry.batch && wants_more(&geometry, images) && fits(images * 2, 1) {
            images *= 2;
        }
        let rows = (1..=height).rev().find(|&rows| fits(images, rows)).unwrap_or(1);
        let rows = height.div_ceil(height.div_ceil(rows));
        let layout = Layout::new(&geometry, images, rows);
        let most = (STRIP / bytes(&layout)).max(1);
        let units = ENOUGH.div_ceil(rows * layout.tiles).clamp(1, most);
        let mut plan = Plan { geometry, groups, layout, units, channels, parts: 1 };
        // Fewer units a strip rather than fewer parts.
        plan.units = plan.units.min(plan.all_units().div_ceil(wanted));
        plan.parts = wanted.min(plan.strips());
        plan
    }

    /// Whether rows of `grad_y` stay in their tiles for several rows of taps.
    pub(super) fn rolls(&self) -> bool {
        let Geometry { kernel_size, stride, dilation, .. } = self.geometry;
        kernel_size[0] == TAPS && stride[0] == 1 && dilation[0] == 1
    }

    /// The sizes of the tiles: first sums, four of them or one for each row of taps, then two or
    /// three of `grad_y`, and two of `x`.
    pub(super) fn shapes(&self) -> Shapes {
        let (pairs, sums) = (self.layout.pairs, if self.rolls() { TAPS } else { 4 });
        std::array::from_fn(|tile| match tile {
            6.. => Shape { rows: pairs, ..Shape::WHOLE },
            tile if tile < sums => Shape::WHOLE,
            _ => Shape { words: pairs, ..Shape::WHOLE },
        })
    }

    /// Numbers of parts into which the output and the input channels are divided.
    pub(super) fn chunks(&self) -> [usize; 2] {
        let Geometry { in_channels, out_channels, .. } = self.geometry;
        [out_channels.div_ceil(self.channels[0]), in_channels.div_ceil(self.channels[1])]
    }

    pub(super) fn tasks(&self) -> usize {
        self.parts * self.chunks().iter().product::<usize>()
    }

    /// The part, the output channels and the input channels of a task.
    pub(super) fn task(&self, index: usize) -> (usize, Range<usize>, Range<usize>) {
        let Geometry { in_channels, out_channels, .. } = self.geometry;
        let ([outs, ins], [out, input]) = (self.chunks(), self.channels);
        let range =
            |chunk: usize, size: usize, all: usize| chunk * size..((chunk + 1) * size).min(all);
        let (part, chunk) = (index / (outs * ins), index % (outs * ins));
        (part, range(chunk / ins, out, out_channels), range(chunk % ins, input, in_channels))
    }

    fn bands(&self) -> usize {
        self.geometry.out_size()[0].div_ceil(self.layout.rows)
    }

    fn all_units(&self) -> usize {
        self.geometry.batch.div_ceil(self.layout.images) * self.bands()
    }

    fn strips(&self) -> usize {
        self.all_units().div_ceil(self.units)
    }

    /// The strips of a part.
    pub(super) fn strips_of(&self, part: usize) -> Range<usize> {
        part * self.strips() / self.parts..(part + 1) * self.strips() / self.parts
    }

    /// The units of a strip.
    pub(super) fn units(&self, strip: usize) -> impl Iterator<Item = Unit> + '_ {
        let first = strip * self.units;
        (first..(first + self.units).min(self.all_units())).map(|unit| {
            let (height, Layout { images, rows, .. }) = (self.geometry.out_size()[0], &self.layout);
            let first_image = unit / self.bands() * images;
            let first_row = unit % self.bands() * rows;
            Unit {
                first_image,
                images: (*images).min(self.geometry.batch - first_image),
                rows: first_row..(first_row + rows).min(height),
            }
        })
    }

    /// Words of a packed strip of `x` and of `grad_y`, for one tile of channels.
    pub(super) fn strip_words(&self) -> [usize; 2] {
        [self.layout.x_unit, self.layout.y_unit].map(|unit| self.units * unit)
    }

    /// Tiles of sums for each tile of output channels: `[row of taps][run][tile of input channels]`.
    pub(super) fn streams(&self, in_tiles: usize) -> usize {
        self.geometry.kernel_size[0] * self.layout.runs.len() * in_tiles
    }

    /// Words of the memory of a task: packed `x` and `grad_y`, a padded row, the sums, and those of
    /// the bias.
    pub(super) fn memory(&self, outs: usize, ins: usize) -> [usize; 5] {
        let [x, y] = self.strip_words();
        let [out_tiles, in_tiles] = [outs, ins].map(|channels| channels.div_ceil(LANES));
        let padded = self.layout.padded(&self.geometry, ins).div_ceil(2);
        let sums = out_tiles * self.streams(in_tiles) * TILE_WORDS;
        let words = [in_tiles * x, out_tiles * y, padded, sums, out_tiles * TILE_WORDS];
        words.map(|words| words.next_multiple_of(LANES))
    }
}

/// The output and the input channels of a task, and the number of parts of the strips, which are
/// estimated to take the shortest time.
fn division(geometry: &Geometry, groups: usize) -> ([usize; 2], usize) {
    let mut best = (usize::MAX, ([CHANNELS[0]; 2], 1));
    for out in CHANNELS {
        for input in CHANNELS {
            let channels = [out.min(geometry.out_channels), input.min(geometry.in_channels)];
            let sums = channels.iter().product::<usize>() * geometry.taps() * 4;
            if sums > SUMS && [out, input] != [CHANNELS[0]; 2] {
                continue;
            }
            for parts in 1..=TASKS {
                let time = estimate(geometry, groups, [out, input], parts);
                if time < best.0 {
                    best = (time, ([out, input], parts));
                }
            }
        }
    }
    best.1
}

/// Cycles of the work, and of the wait for the last task.
fn estimate(geometry: &Geometry, groups: usize, channels: [usize; 2], parts: usize) -> usize {
    let [height, width] = geometry.out_size();
    let pixels = geometry.batch * groups * height * width;
    let stride = geometry.stride.iter().product::<usize>();
    let [outs, ins] = [geometry.out_channels, geometry.in_channels];
    let [out_tiles, in_tiles] = [outs, ins].map(|channels| channels.div_ceil(LANES));
    let [out_chunks, in_chunks] = [outs.div_ceil(channels[0]), ins.div_ceil(channels[1])];
    let pack =
        pixels * (stride * in_tiles * out_chunks * PACK[0] + out_tiles * in_chunks * PACK[1]);
    let products = pixels / 32 * out_tiles * in_tiles * geometry.taps() * MULTIPLY;
    let work = pack + products;
    work + work / (out_chunks * in_chunks * parts) + parts * geometry.weight_len() / LANES * MERGE
}
