//! The order of pixels in the scratch.

use super::super::words::{Words, PIXEL};
use crate::cpu::LANES;
use crate::kernels::cpu::convolution::axis::Axis;

/// The scratch of a unit: `[plane][row][column % step][column / step][image][word]`.
///
/// In this order the pixels that one tap reads for neighboring outputs are neighbors, whether they
/// are pixels of one image or, where images are small, of several.
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
}

impl Layout {
    /// The layout for `band` rows of outputs.
    pub(super) fn new([vertical, horizontal]: [&Axis; 2], images: usize, band: usize) -> Layout {
        let span = |axis: &Axis, count: usize| {
            let (least, most) = axis.reach();
            (count - 1) * axis.step + (most - least) as usize + 1
        };
        let columns = span(horizontal, horizontal.count()).div_ceil(horizontal.step);
        let rows = span(vertical, band);
        let row = horizontal.step * columns * images * PIXEL;
        // One more line, so that planes do not compete for the same sets of the cache.
        Layout { images, rows, columns, row, plane: rows * row + LANES }
    }

    /// Words of the whole scratch.
    pub(super) fn len(&self, words: Words) -> usize {
        words.planes * self.plane
    }

    /// The word of a row at which the columns of one remainder start.
    pub(super) fn run(&self, remainder: usize) -> usize {
        remainder * self.columns * self.pixel()
    }

    /// Words from a pixel to the next one of the same image.
    pub(super) fn pixel(&self) -> usize {
        self.images * PIXEL
    }
}
