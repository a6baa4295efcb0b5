//! The output rows of one vertical and one horizontal phase.

use super::super::words::PIXEL;
use super::layout::Layout;
use super::plan::{Plan, Unit};
use crate::cpu::LANES;
use crate::kernels::cpu::convolution::axis::{Phase, Tap};

/// All outputs of a strip read the same taps, at constant distances from each other.
#[derive(Clone, Debug)]
pub(super) struct Strip {
    pub first_row: usize,
    pub rows: usize,
    /// The word at which its weights start in a block.
    pub weights: usize,
    /// For each plane and tap, the word of the scratch that the first output of row 0 reads.
    pub segments: Vec<usize>,
    /// Taps come in runs of three that read neighboring pixels.
    pub runs: bool,
    /// Elements from the start of a row to each of its outputs. The source pixels of neighboring
    /// outputs are `PIXEL` words apart.
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
                weights += strip.segments.len() * self.words.words * LANES;
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
        let mut taps = Vec::new();
        for v in &vertical.taps {
            let row = (v.offset - top) as usize * layout.row;
            let column = |h: &Tap| (h.offset - left) as usize;
            let at = |c: usize| row + layout.run(c % step) + c / step * layout.pixel();
            taps.extend(horizontal.taps.iter().map(column).map(at));
        }
        let planes = (0..self.words.planes).map(|plane| plane * layout.plane);
        let segments = planes.flat_map(|plane| taps.iter().map(move |tap| plane + tap)).collect();
        let neighbors = self.horizontal.step == 1
            && horizontal.taps.windows(2).all(|taps| taps[1].offset == taps[0].offset + 1);
        let image = self.out_size[0] * self.out_size[1] * self.pixel();
        let column = |i: usize| horizontal.first + i / layout.images * self.horizontal.out_step;
        let pixel = |i: usize| i % layout.images * image + column(i) * self.pixel();
        Strip {
            first_row: vertical.first,
            rows: vertical.count,
            weights,
            segments,
            runs: horizontal.taps.len() == 3 && neighbors && layout.pixel() == PIXEL,
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
