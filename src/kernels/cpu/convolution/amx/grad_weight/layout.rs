//! The order of a packed strip of `x` and of `grad_y` in memory.

use crate::cpu::{LANES, ROWS, ROW_WORDS, TILE_WORDS};
use crate::kernels::cpu::convolution::Geometry;

/// Numbers of a word.
const PER_WORD: usize = 2;

/// Tiles are full enough if so many of all their pairs are used.
const FULL: f64 = 0.85;

/// A *unit* is a band of output rows of some images, whose pixels alternate: pair after pair of one
/// row is that of the first image, of the second, and so on.
///
/// The order of `grad_y` is `[tile of output channels][unit][row][tile of pairs][channel][pair]`,
/// that of `x` is `[tile of input channels][unit][row][column % step][column / step][image]
/// [channel]`, where a word is the pixel at one column of the padded row and the pixel that the
/// next output reads. From the first output of a pair to that of the next one it is `step` columns.
///
/// Lengths are in words.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub images: usize,
    /// The most output rows of a unit.
    pub rows: usize,
    /// Pairs of a tile, and tiles of a row.
    pub pairs: usize,
    pub tiles: usize,
    /// Neighboring taps of a row that are columns of one tile.
    pub taps: usize,
    /// The runs of such taps.
    pub runs: Vec<Run>,
    /// The remainders of columns modulo `step` that the runs read.
    pub remainders: Vec<usize>,
    pub step: usize,
    /// Packed columns of one remainder.
    pub columns: usize,
    /// Words from row to row and from unit to unit.
    pub x_row: usize,
    pub x_unit: usize,
    pub y_row: usize,
    pub y_unit: usize,
}

/// Neighboring taps of a row of the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub first: usize,
    /// The first one that no earlier run has.
    pub new: usize,
    /// The word of a packed row of `x` that the first tap and the first pair read.
    pub start: usize,
}

impl Layout {
    /// The layout of units of `rows` rows of `images` images.
    pub(super) fn new(geometry: &Geometry, images: usize, rows: usize) -> Layout {
        let width = geometry.kernel_size[1];
        let pairs = all_pairs(geometry, images);
        let tiles = pairs.div_ceil(ROWS);
        let pairs = pairs.div_ceil(tiles);
        // Neighboring taps lie side by side in a row of `x`, if all channels of a pixel do.
        let fit = if geometry.dilation[1] == 1 { LANES / geometry.in_channels } else { 1 };
        let taps = fit.clamp(1, width);
        let step = PER_WORD * geometry.stride[1];
        let starts = (0..width).step_by(taps).map(|new| (new.min(width - taps), new));
        let starts: Vec<(usize, usize)> = starts.collect();
        let column = |tap: usize| tap * geometry.dilation[1];
        let mut remainders: Vec<usize> =
            starts.iter().map(|(first, _)| column(*first) % step).collect();
        remainders.sort_unstable();
        remainders.dedup();
        let most = starts.iter().map(|(first, _)| column(*first) / step).max().unwrap_or(0);
        let columns = (tiles * pairs).div_ceil(images) + most;
        let runs = starts.iter().map(|&(first, new)| {
            let remainder = remainders.iter().position(|r| *r == column(first) % step).unwrap_or(0);
            let before = remainder * columns + column(first) / step;
            Run { first, new, start: before * images * ROW_WORDS }
        });
        let runs = runs.collect();
        let x_row = remainders.len() * columns * images * ROW_WORDS;
        let y_row = tiles * TILE_WORDS;
        let packed = packed_rows(geometry, rows);
        Layout {
            images,
            rows,
            pairs,
            tiles,
            taps,
            runs,
            remainders,
            step,
            columns,
            x_row,
            x_unit: packed * x_row,
            y_row,
            y_unit: rows * y_row,
        }
    }

    /// Numbers from pixel to pixel of a padded row of `x`, where a task has so many channels.
    pub(super) fn pixel(&self, channels: usize) -> usize {
        if self.taps > 1 {
            channels
        } else {
            channels.next_multiple_of(LANES)
        }
    }

    /// Numbers of a padded row of `x`, and room for a vector.
    pub(super) fn padded(&self, geometry: &Geometry, channels: usize) -> usize {
        let columns = self.columns * self.step + geometry.stride[1] + geometry.padding[1];
        (columns.max(geometry.in_size[1] + geometry.padding[1]) + 1) * self.pixel(channels) + LANES
    }
}

/// Pairs of a row of some images. The last pixel of a row may have no partner.
fn all_pairs(geometry: &Geometry, images: usize) -> usize {
    geometry.out_size()[1].div_ceil(PER_WORD) * images
}

/// Whether the tiles of a row of so many images are too empty, so that more should be joined.
pub(super) fn wants_more(geometry: &Geometry, images: usize) -> bool {
    let pairs = all_pairs(geometry, images);
    (pairs as f64) < FULL * (pairs.div_ceil(ROWS) * ROWS) as f64
}

/// Rows of `x` that a number of output rows reads.
pub(super) fn packed_rows(geometry: &Geometry, rows: usize) -> usize {
    (rows - 1) * geometry.stride[0] + (geometry.kernel_size[0] - 1) * geometry.dilation[0] + 1
}
