//! The division of a matrix: rows into tasks, rows folded into wide rows, wide rows into windows.

use std::ops::Range;

use super::lanes::WINDOW;
use super::Shape;
use crate::cpu::LANES;

/// Rows are folded until they fill whole windows, unless they grow longer than this.
const WIDEST: usize = 2048;

/// A block has few enough wide rows for f32 sums and for the cache, and enough to be worth a merge.
const BLOCK_ELEMENTS: usize = 32 * 1024;
const BLOCK_ROWS: (usize, usize) = (16, 64);

/// Tasks are large enough to be worth starting and few enough to be merged quickly.
const TASK_ELEMENTS: usize = 16 * 1024;
const TASKS: usize = 64;

/// The division of a matrix, which depends only on its shape.
///
/// With few channels, `fold` consecutive rows are treated as one wide row of `fold * channels`
/// lanes, so that vectors are full and sums independent for any number of channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiling {
    pub rows: usize,
    pub channels: usize,
    pub fold: usize,
    rows_per_task: usize,
}

impl Tiling {
    pub(super) fn new(shape: Shape) -> Tiling {
        let Shape { rows, channels } = shape;
        // WINDOW is a power of two, so the least fold that fills whole windows is one too.
        let mut fold = WINDOW >> channels.trailing_zeros().min(WINDOW.trailing_zeros());
        while fold > 1 && fold * channels > WIDEST {
            fold /= 2;
        }
        let elements = (rows * channels).div_ceil(TASKS).max(TASK_ELEMENTS);
        let rows_per_task = elements.div_ceil(channels).next_multiple_of(fold);
        Tiling { rows, channels, fold, rows_per_task }
    }

    pub(super) fn lanes(&self) -> usize {
        self.fold * self.channels
    }

    /// Lanes of a wide row and of one more vector.
    pub(super) fn padded(&self) -> usize {
        self.lanes() + LANES
    }

    pub(super) fn tasks(&self) -> usize {
        self.rows.div_ceil(self.rows_per_task)
    }

    /// Elements of a task's part of the matrix; the last task may have fewer.
    pub(super) fn part(&self) -> usize {
        self.rows_per_task * self.channels
    }

    /// The elements of a task's part of the matrix.
    pub(super) fn range(&self, task: usize) -> Range<usize> {
        let end = self.rows * self.channels;
        (task * self.part()).min(end)..((task + 1) * self.part()).min(end)
    }

    /// Wide rows of a block.
    pub(super) fn block_rows(&self) -> usize {
        let (least, most) = BLOCK_ROWS;
        (BLOCK_ELEMENTS / self.lanes()).clamp(least, most)
    }

    /// The number of elements of a part of `len` that lie in whole wide rows.
    pub(super) fn wide(&self, len: usize) -> usize {
        len - len % self.lanes()
    }

    /// The values of the channels, repeated for all lanes and filled up with a vector of zeros.
    pub(super) fn spread(&self, values: &[f32]) -> Vec<f32> {
        let mut lanes = Vec::with_capacity(self.padded());
        (0..self.fold).for_each(|_| lanes.extend_from_slice(values));
        lanes.resize(self.padded(), 0.0);
        lanes
    }
}

/// The first lanes of the windows that cover `lanes`, each with the number of its lanes that the
/// previous window has covered already, which is zero except for the last window.
#[inline(always)]
pub(super) fn windows(lanes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..lanes).step_by(WINDOW).map(move |start| {
        let covered = (start + WINDOW).saturating_sub(lanes);
        (start - covered, covered)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_rows_hold_a_window() {
        for channels in 1..5000 {
            let tiling = Tiling::new(Shape { rows: 1000, channels });
            assert!(tiling.lanes() >= WINDOW, "{channels}");
            assert!(tiling.lanes() <= WIDEST || tiling.fold == 1, "{channels}");
            assert_eq!(tiling.part() % tiling.lanes(), 0);
        }
    }

    #[test]
    fn tasks_cover_the_rows_in_order() {
        for (rows, channels) in [(1, 1), (100_003, 3), (131_072, 16), (77, 4099)] {
            let tiling = Tiling::new(Shape { rows, channels });
            assert!((1..=TASKS).contains(&tiling.tasks()));
            let mut end = 0;
            for range in (0..tiling.tasks()).map(|task| tiling.range(task)) {
                assert!(range.start == end && !range.is_empty());
                end = range.end;
            }
            assert_eq!(end, rows * channels);
        }
    }

    #[test]
    fn windows_cover_each_lane_once() {
        for lanes in [64, 65, 127, 128, 2047] {
            let mut next = 0;
            for (start, covered) in windows(lanes) {
                assert_eq!(start + covered, next);
                next = start + 64;
            }
            assert_eq!(next, lanes);
        }
    }
}
