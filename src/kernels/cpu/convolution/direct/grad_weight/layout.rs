//! The order of a packed strip of `x` and of `grad_y` in memory.

use std::ops::Range;

use crate::cpu::LANES;
use crate::kernels::cpu::convolution::Geometry;

/// Steps of a strip, about. They are enough to make up for loading and storing the accumulators of
/// a tile and for rows that two strips need, and few enough that 16 channels stay in the L2 cache.
const STEPS: usize = 512;

/// The most words of `x` in a strip.
const WORDS: usize = 512 * 1024;

/// Each word of an output row is a *step*; a last pixel without a partner is paired with zero. The
/// order of `x` is `[block of input channels][image][row][column][lane]`, that of `grad_y` is
/// `[block of output channels][image][row][step][lane]`.
///
/// A packed column of `x` is the word at one column of the padded row: the pixel there and, in
/// bf16, the pixel that the next output reads. So a tap further to the right reads from a later
/// column.
///
/// Strides are in words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub steps: usize,
    /// The most output rows and images of a strip.
    pub rows: usize,
    pub images: usize,
    /// There are too few input channels to fill a vector, so lanes are output channels.
    pub narrow: bool,
    /// Rows of taps, and runs of neighboring taps in each row.
    pub taps: [usize; 2],
    /// Input channels of all taps of a run, and the number of vectors that hold them.
    pub lanes: usize,
    pub blocks: usize,
    /// Packed columns of a row, from step to step, and from tap to tap.
    pub columns: usize,
    pub step_columns: usize,
    pub tap_columns: usize,
    /// Pixels from packed column to packed column.
    pub column_pixels: usize,
    /// Packed rows from output row to output row, and from tap to tap.
    pub row_rows: usize,
    pub tap_rows: usize,
    /// Strides of `x`.
    pub x_column: usize,
    pub x_row: usize,
    pub x_image: usize,
    pub x_block: usize,
    /// Strides of `grad_y`.
    pub y_row: usize,
    pub y_image: usize,
    pub y_block: usize,
}

/// The images and output rows of a strip.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Strip {
    pub images: Range<usize>,
    pub rows: Range<usize>,
}

impl Layout {
    pub(super) fn new(geometry: &Geometry, per_word: usize) -> Layout {
        let [stride_rows, stride] = geometry.stride;
        let steps = geometry.out_size()[1].div_ceil(per_word);
        let [tap_rows, width] = geometry.kernel_size;
        let narrow = geometry.in_channels < LANES && geometry.taps() > 1;
        // Neighboring taps lie side by side if no lanes are between their channels.
        let run = if narrow && geometry.dilation[1] == 1 { width } else { 1 };
        let taps = [tap_rows, width / run];
        let lanes = geometry.in_channels * run;
        let blocks = lanes.div_ceil(LANES);
        // A single column of taps needs no columns between those of two steps.
        let dense = width == 1;
        let step_columns = if dense { 1 } else { per_word * stride };
        let tap_columns = geometry.dilation[1];
        let columns = (steps - 1) * step_columns + (width - 1) * tap_columns + 1;
        let column_pixels = if dense { per_word * stride } else { 1 };
        let x_column = if narrow { geometry.in_channels } else { LANES };
        let mut layout = Layout {
            steps,
            rows: 0,
            images: 0,
            narrow,
            taps,
            lanes,
            blocks,
            columns,
            step_columns,
            tap_columns,
            column_pixels,
            row_rows: if taps[0] == 1 { 1 } else { stride_rows },
            tap_rows: geometry.dilation[0],
            x_column,
            x_row: columns * x_column,
            x_image: 0,
            x_block: 0,
            y_row: steps * LANES,
            y_image: 0,
            y_block: 0,
        };
        layout.divide(geometry);
        layout
    }

    /// Chooses the sizes of the strips.
    fn divide(&mut self, geometry: &Geometry) {
        let height = geometry.out_size()[0];
        let blocks = if self.narrow { 1 } else { self.blocks };
        let row_words = self.x_row * blocks * self.row_rows;
        let most = (WORDS / row_words).min(STEPS.div_ceil(self.steps)).max(1);
        self.rows = height.div_ceil(height.div_ceil(most));
        self.images =
            if self.rows == height { (most / height).clamp(1, geometry.batch) } else { 1 };
        self.x_image = self.packed_rows(self.rows) * self.x_row;
        self.y_image = self.rows * self.y_row;
        self.y_block = self.images * self.y_image;
        self.x_block = self.images * self.x_image;
    }

    /// Rows of `x` that a number of output rows reads.
    pub(super) fn packed_rows(&self, rows: usize) -> usize {
        (rows - 1) * self.row_rows + (self.taps[0] - 1) * self.tap_rows + 1
    }

    /// Words of packed `x`, and room for a vector that begins at the last of them.
    pub(super) fn x_words(&self) -> usize {
        self.x_block * if self.narrow { 1 } else { self.blocks } + LANES
    }

    /// Number of strips.
    pub(super) fn strips(&self, geometry: &Geometry) -> usize {
        let height = geometry.out_size()[0];
        geometry.batch.div_ceil(self.images) * height.div_ceil(self.rows)
    }

    pub(super) fn strip(&self, geometry: &Geometry, index: usize) -> Strip {
        let height = geometry.out_size()[0];
        let cuts = height.div_ceil(self.rows);
        let range = |index: usize, size: usize, end: usize| {
            (index * size).min(end)..((index + 1) * size).min(end)
        };
        Strip {
            images: range(index / cuts, self.images, geometry.batch),
            rows: range(index % cuts, self.rows, height),
        }
    }
}
