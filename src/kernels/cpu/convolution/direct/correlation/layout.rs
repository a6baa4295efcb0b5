//! Where the pixels of some images lie in the scratch.

use super::super::axis::Axis;
use super::super::words::Words;
use super::super::PIXEL;
use crate::cpu::LANES;

/// The scratch of a band of rows of some images: `[plane][row][column % step][column / step]
/// [image][word]`. So the pixels that one tap shows to neighboring outputs are neighbors, be they
/// of one image or, where images are small, of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub images: usize,
    pub rows: usize,
    /// Columns of one remainder modulo the step.
    pub columns: usize,
    pub row: usize,
    pub plane: usize,
}

impl Layout {
    /// For `band` rows of outputs.
    pub(super) fn new([vertical, horizontal]: [&Axis; 2], images: usize, band: usize) -> Layout {
        let span = |axis: &Axis, count: usize| {
            let (least, most) = axis.reach();
            (count - 1) * axis.step + (most - least) as usize + 1
        };
        let columns = span(horizontal, horizontal.count()).div_ceil(horizontal.step);
        let rows = span(vertical, band);
        let row = horizontal.step * columns * images * PIXEL;
        // A line more keeps planes apart in the sets of the cache.
        Layout { images, rows, columns, row, plane: rows * row + LANES }
    }

    /// Words of the whole scratch.
    pub(super) fn len(&self, words: Words) -> usize {
        words.planes * self.plane
    }

    /// Where the run of columns of one remainder starts within a row.
    pub(super) fn run(&self, remainder: usize) -> usize {
        remainder * self.columns * self.pixel()
    }

    /// From a pixel to the next of the same image.
    pub(super) fn pixel(&self) -> usize {
        self.images * PIXEL
    }
}
