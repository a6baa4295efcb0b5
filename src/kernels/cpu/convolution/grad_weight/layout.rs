//! How a strip of `x` and of `grad_y` lies in memory as words.

use std::ops::Range;

use crate::kernels::cpu::convolution::Geometry;

/// Lanes of a vector.
pub(super) const LANES: usize = 16;

/// A strip has about so many steps: enough to make up for fetching and storing a tile's sums, and
/// few enough that sixteen channels of it stay in the L1 cache.
const STEPS: usize = 192;

/// Words of a strip's `x`, at most.
const WORDS: usize = 512 * 1024;

/// An output row is as many *steps* as it has words; a last pixel without a partner is paired with
/// zero. Strides are in words. The order of `x` is `[block, image, row, column, lane]`, that of
/// `grad_y` is `[block of output channels, image, row, step, lane]`.
///
/// A packed column of `x` is the word at one place of the padded row: the pixel there and, in bf16,
/// the one that the next output pixel sees. So a tap further right reads from a later column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub steps: usize,
    /// Output rows and images of a strip, at most.
    pub rows: usize,
    pub images: usize,
    /// The kernel lies in the lanes, `[tap, channel]`, instead of in the rows and columns.
    pub gather: bool,
    /// The kernel that is left.
    pub taps: [usize; 2],
    /// Elements of a tap of one output channel, and vectors of them.
    pub lanes: usize,
    pub blocks: usize,
    /// Packed columns of a row; from a step to the next; from a tap to the next.
    pub columns: usize,
    pub step_columns: usize,
    pub tap_columns: usize,
    /// Pixels from a packed column to the next.
    pub column_pixels: usize,
    /// Packed rows from an output row to the next; from a tap to the next.
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
        let [_, width] = geometry.out_size();
        let [stride_rows, stride] = geometry.stride;
        let steps = width.div_ceil(per_word);
        let gather = geometry.in_channels < LANES && geometry.taps() > 1;
        let taps = if gather { [1, 1] } else { geometry.kernel_size };
        let lanes = geometry.in_channels * if gather { geometry.taps() } else { 1 };
        let blocks = lanes.div_ceil(LANES);
        // A single column of taps needs no columns in between.
        let dense = taps[1] == 1;
        let step_columns = if dense { 1 } else { per_word * stride };
        let tap_columns = geometry.dilation[1];
        let columns = (steps - 1) * step_columns + (taps[1] - 1) * tap_columns + 1;
        let column_pixels = if dense { per_word * stride } else { 1 };
        let x_column = if gather { blocks * LANES } else { LANES };
        let mut layout = Layout {
            steps,
            rows: 0,
            images: 0,
            gather,
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
            x_block: LANES,
            y_row: steps * LANES,
            y_image: 0,
            y_block: 0,
        };
        layout.cut(geometry);
        layout
    }

    /// Chooses the strips.
    fn cut(&mut self, geometry: &Geometry) {
        let height = geometry.out_size()[0];
        let row_words = self.columns * self.blocks * LANES * self.row_rows;
        let most = (WORDS / row_words).min(STEPS.div_ceil(self.steps)).max(1);
        self.rows = height.div_ceil(height.div_ceil(most));
        self.images =
            if self.rows == height { (most / height).clamp(1, geometry.batch) } else { 1 };
        self.x_image = self.packed_rows(self.rows) * self.x_row;
        self.y_image = self.rows * self.y_row;
        self.y_block = self.images * self.y_image;
        if !self.gather {
            self.x_block = self.images * self.x_image;
        }
    }

    /// Rows of `x` for so many output rows.
    pub(super) fn packed_rows(&self, rows: usize) -> usize {
        (rows - 1) * self.row_rows + (self.taps[0] - 1) * self.tap_rows + 1
    }

    /// Words of a packed `x`, with room for a vector that begins at the last of them.
    pub(super) fn x_words(&self) -> usize {
        self.images * self.x_image * if self.gather { 1 } else { self.blocks } + LANES
    }

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
