//! The order of pixels in the scratch.

use super::super::fold::Fold;
use crate::cpu::{ROWS, ROW_WORDS};
use crate::kernels::cpu::convolution::axis::Axis;

/// The scratch of a unit: `[plane][row][column % step][column / step][image][32 numbers]`.
///
/// In this order the pixels that one tap reads for neighboring outputs are neighbors, whether they
/// are pixels of one image or, where images are narrow, of several.
///
/// Lengths are in words; a pixel of a plane has 16.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub images: usize,
    pub rows: usize,
    /// Columns of one remainder modulo the step.
    pub columns: usize,
    /// Words from row to row.
    pub row: usize,
    /// Words from plane to plane.
    pub plane: usize,
    /// Words from the pixel of an output to that of the next one.
    pub line: usize,
}

impl Layout {
    /// The layout for `band` rows of outputs.
    pub(super) fn new(
        [vertical, horizontal]: [&Axis; 2],
        fold: &Fold,
        images: usize,
        band: usize,
    ) -> Layout {
        let span = |axis: &Axis, folded: usize, count: usize| {
            let (least, most) = axis.reach();
            (count - 1) * axis.step + (most - least) as usize + 2 - folded
        };
        let columns = span(horizontal, fold.taps[1], horizontal.count()).div_ceil(horizontal.step);
        let rows = span(vertical, fold.taps[0], band);
        let row = horizontal.step * columns * images * ROW_WORDS;
        // One more line, so that planes do not compete for the same sets of the cache.
        Layout { images, rows, columns, row, plane: rows * row + ROW_WORDS, line: ROW_WORDS }
    }

    /// The layout of `rows` rows of a source that is read where it is: its pixels have `pixel`
    /// words, 16 of them for each plane.
    pub(super) fn of_source(rows: usize, columns: usize, pixel: usize) -> Layout {
        Layout { images: 1, rows, columns, row: columns * pixel, plane: ROW_WORDS, line: pixel }
    }

    /// Words of the whole scratch. The last tile of a row may reach beyond it.
    pub(super) fn len(&self, planes: usize) -> usize {
        planes * self.plane + ROWS * ROW_WORDS
    }

    /// The word of a row at which the columns of one remainder start.
    pub(super) fn run(&self, remainder: usize) -> usize {
        remainder * self.columns * self.pixel()
    }

    /// Words from a pixel to the next one of the same image.
    pub(super) fn pixel(&self) -> usize {
        self.images * ROW_WORDS
    }
}
