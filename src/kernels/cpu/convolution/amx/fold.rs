//! The products of a correlation: which channels of which taps each of them contracts.

use super::DEPTH;
use crate::kernels::cpu::convolution::axis::{Axis, Phase};

/// The source channels of a pixel, and the taps that are contracted together.
///
/// A *plane* of the scratch has one line of 32 numbers for each pixel. With more than 16 channels
/// each plane holds 32 channels of the pixel itself. With fewer, there is one plane, whose line
/// holds all channels of the pixel and of some to the right of it and below it, as many as the taps
/// of every phase can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fold {
    pub channels: usize,
    /// Rows and columns of taps that are contracted together.
    pub taps: [usize; 2],
}

/// One product of a phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub plane: usize,
    /// The offsets of the pixel whose line is read, in rows and columns of the source.
    pub offset: [isize; 2],
    /// For each run of channels in the line, the index of the tap that reads it. `None`: an earlier
    /// step has counted that tap.
    pub taps: Vec<Option<usize>>,
}

impl Fold {
    pub(super) fn new(channels: usize, vertical: &Axis, horizontal: &Axis) -> Fold {
        let columns = most(horizontal, DEPTH / channels);
        let rows = most(vertical, DEPTH / (channels * columns));
        Fold { channels, taps: [rows, columns] }
    }

    /// Whether taps are contracted together.
    pub(super) fn folds(&self) -> bool {
        self.taps != [1, 1]
    }

    pub(super) fn planes(&self) -> usize {
        self.channels.div_ceil(DEPTH)
    }

    /// Channels of each pixel in a plane.
    pub(super) fn plane_channels(&self, plane: usize) -> std::ops::Range<usize> {
        plane * DEPTH..((plane + 1) * DEPTH).min(self.channels)
    }

    /// The steps of one vertical and one horizontal phase, for a kernel of this width.
    pub(super) fn steps(&self, vertical: &Phase, horizontal: &Phase, width: usize) -> Vec<Step> {
        let [rows, columns] = self.taps;
        let mut steps = Vec::new();
        for plane in 0..self.planes() {
            for (top, new_row) in runs(vertical.taps.len(), rows) {
                for (left, new_column) in runs(horizontal.taps.len(), columns) {
                    let index = |v: usize, h: usize| {
                        let new = v >= new_row && h >= new_column;
                        new.then(|| vertical.taps[v].index * width + horizontal.taps[h].index)
                    };
                    let row = |v: usize| (left..left + columns).map(move |h| index(v, h));
                    let taps = (top..top + rows).flat_map(row).collect();
                    let offset = [vertical.taps[top].offset, horizontal.taps[left].offset];
                    steps.push(Step { plane, offset, taps });
                }
            }
        }
        steps
    }
}

/// The largest number of taps up to `fit` that all phases have, one after the other.
fn most(axis: &Axis, fit: usize) -> usize {
    let phases = || axis.phases.iter().filter(|phase| !phase.taps.is_empty());
    let neighbors =
        |phase: &Phase| phase.taps.windows(2).all(|taps| taps[1].offset == taps[0].offset + 1);
    let fewest = phases().map(|phase| phase.taps.len()).min().unwrap_or(1);
    match phases().all(neighbors) {
        true => fit.clamp(1, fewest),
        false => 1,
    }
}

/// Runs of `length` that cover `count` taps: the first tap of each, and the first that no earlier
/// run has. The last run overlaps the one before it rather than to reach beyond the kernel.
fn runs(count: usize, length: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).step_by(length).map(move |first| (first.min(count - length), first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::convolution::testing::SMALL;
    use crate::kernels::cpu::convolution::{Geometry, Operand};

    /// The fold and the number of steps of each pair of phases.
    fn folded(geometry: Geometry, operand: Operand) -> (Fold, Vec<usize>) {
        let [vertical, horizontal] = [0, 1].map(|dim| Axis::new(&geometry, operand, dim));
        let channels = match operand {
            Operand::Forward => geometry.in_channels,
            Operand::GradInput => geometry.out_channels,
        };
        let fold = Fold::new(channels, &vertical, &horizontal);
        let phases =
            vertical.phases.iter().flat_map(|v| horizontal.phases.iter().map(move |h| (v, h)));
        let steps = phases.map(|(v, h)| {
            let steps = fold.steps(v, h, geometry.kernel_size[1]);
            let mut taps: Vec<usize> =
                steps.iter().flat_map(|step| step.taps.clone()).flatten().collect();
            taps.sort_unstable();
            taps.dedup();
            assert_eq!(taps.len(), v.taps.len() * h.taps.len(), "each tap is counted once");
            steps.len()
        });
        (fold, steps.collect())
    }

    #[test]
    fn few_channels_share_a_product() {
        let with = |in_channels| folded(Geometry { in_channels, ..SMALL }, Operand::Forward);
        assert_eq!(with(64), (Fold { channels: 64, taps: [1, 1] }, vec![18]));
        assert_eq!(with(17), (Fold { channels: 17, taps: [1, 1] }, vec![9]));
        assert_eq!(with(16), (Fold { channels: 16, taps: [1, 2] }, vec![6]));
        assert_eq!(with(3), (Fold { channels: 3, taps: [3, 3] }, vec![1]));
        assert_eq!(with(5), (Fold { channels: 5, taps: [2, 3] }, vec![2]));
    }

    #[test]
    fn only_neighboring_taps_share_one() {
        let dilated = Geometry { in_channels: 3, dilation: [1, 2], ..SMALL };
        assert_eq!(folded(dilated, Operand::Forward).0.taps, [3, 1]);
        let strided = Geometry { out_channels: 4, stride: [2, 2], ..SMALL };
        assert_eq!(
            folded(strided, Operand::GradInput),
            (Fold { channels: 4, taps: [1, 1] }, vec![1, 2, 2, 4])
        );
        let sparse = Geometry { kernel_size: [1, 1], padding: [0, 0], ..strided };
        assert_eq!(folded(sparse, Operand::GradInput).1, [1, 0, 0, 0]);
    }
}
