//! How a correlation is divided into tasks and blocks, which depends on its shape alone.

use std::ops::Range;

use super::microkernel::TILES;
use super::shape::Shape;

/// Tasks that keep the threads of any machine busy to the end.
const TASKS: usize = 64;
/// With fewer tasks than these, the output channels are divided among tasks, although each of them
/// transforms the input again.
const FEW_TASKS: usize = 12;
/// The smallest number of vectors of output channels of a task that has not all of them.
const LEAST_VECTORS: usize = 4;

/// A task computes some rows of tiles, which are counted through all images, of some vectors of
/// output channels.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub shape: Shape,
    /// Tiles of a block.
    pub block: usize,
    /// Rows of tiles of a task.
    rows: usize,
    row_tasks: usize,
    /// Vectors of output channels of a task.
    pub vectors: usize,
    vector_tasks: usize,
}

impl Plan {
    pub(super) fn new(shape: Shape) -> Plan {
        let [tile_rows, columns] = shape.tiles();
        let all_rows = shape.batch * tile_rows;
        let block = block(shape.in_groups());
        // A task has whole blocks, if some number of rows makes whole blocks.
        let whole = (1..=block).find(|rows| rows * columns % block == 0).unwrap_or(1);
        let rows = all_rows.div_ceil(TASKS).next_multiple_of(whole).min(all_rows);
        let row_tasks = all_rows.div_ceil(rows);
        let vectors = shape.out_vectors();
        let split = FEW_TASKS.div_ceil(row_tasks).min(vectors.div_ceil(LEAST_VECTORS)).max(1);
        let vectors = vectors.div_ceil(split).next_multiple_of(2).min(vectors);
        let vector_tasks = shape.out_vectors().div_ceil(vectors);
        Plan { shape, block, rows, row_tasks, vectors, vector_tasks }
    }

    pub(super) fn tasks(&self) -> usize {
        self.row_tasks * self.vector_tasks
    }

    /// The rows of tiles of a task.
    pub(super) fn row_range(&self, task: usize) -> Range<usize> {
        let rows = self.shape.batch * self.shape.tiles()[0];
        let first = task / self.vector_tasks * self.rows;
        first..(first + self.rows).min(rows)
    }

    /// The vectors of output channels of a task.
    pub(super) fn vector_range(&self, task: usize) -> Range<usize> {
        let first = task % self.vector_tasks * self.vectors;
        first..(first + self.vectors).min(self.shape.out_vectors())
    }
}

/// Tiles of a block, for a number of groups of input channels.
fn block(groups: usize) -> usize {
    match groups {
        0..8 => 2 * TILES,
        _ => 4 * TILES,
    }
}
