//! The output rows of one vertical and one horizontal phase.

use super::layout::Layout;
use super::plan::{Plan, Unit};
use crate::cpu::TILE_WORDS;
use crate::kernels::cpu::convolution::axis::Phase;

/// All outputs of a strip read the same taps, at constant distances from each other.
#[derive(Clone, Debug)]
pub(super) struct Strip {
    pub first_row: usize,
    pub rows: usize,
    /// The word at which its weights start in a block.
    pub weights: usize,
    /// For each step, the word of the scratch that the first output of row 0 reads.
    pub steps: Vec<usize>,
    /// Elements from the start of a row to each of its outputs. The source pixels of neighboring
    /// outputs are neighbors.
    pub pixels: Vec<usize>,
}

impl Plan {
    /// The strips of a unit with this layout.
    pub(super) fn strips(&self, layout: &Layout) -> Vec<Strip> {
        let mut weights = 0;
        let mut strips = Vec::new();
        for vertical in &self.vertical.phases {
            for horizontal in &self.horizontal.phases {
                let strip = self.strip(layout, vertical, horizontal, weights);
                weights += strip.steps.len() * TILE_WORDS;
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
        let steps = self.fold.steps(vertical, horizontal, self.kernel_width);
        let steps = steps.iter().map(|at| {
            let (row, column) = ((at.offset[0] - top) as usize, (at.offset[1] - left) as usize);
            let column = layout.run(column % step) + column / step * layout.pixel();
            at.plane * layout.plane + row * layout.row + column
        });
        let image = self.out_size[0] * self.out_size[1] * self.pixel();
        let column = |i: usize| horizontal.first + i / layout.images * self.horizontal.out_step;
        let pixel = |i: usize| i % layout.images * image + column(i) * self.pixel();
        Strip {
            first_row: vertical.first,
            rows: vertical.count,
            weights,
            steps: steps.collect(),
            pixels: (0..horizontal.count * layout.images).map(pixel).collect(),
        }
    }

    /// The element of the output at which the rows of a strip start, in a unit.
    pub(super) fn out_start(&self, strip: &Strip, unit: &Unit) -> usize {
        let row = strip.first_row + unit.rows.start * self.vertical.out_step;
        (unit.first_image * self.out_size[0] + row) * self.out_size[1] * self.pixel()
    }

    /// Elements of the output from row to row of a strip.
    pub(super) fn out_row(&self) -> usize {
        self.vertical.out_step * self.out_size[1] * self.pixel()
    }
}
