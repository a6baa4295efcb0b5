//! How a convolution is cut into blocks and dealt to tasks: by its shape alone.

use std::ops::Range;

use super::super::rows::words;
use super::super::POSITIONS;
use super::microkernel::TILES;
use crate::cpu::{Line, Number, LANES};
use crate::kernels::cpu::convolution::Geometry;

/// Tasks that are enough for any machine's threads to be busy to the end.
const TASKS: usize = 64;
/// Tasks for which a task's output channels are split: each part transforms the input once more.
const FEW_TASKS: usize = 12;
/// Vectors of output channels of a task that has not all of them, at least.
const LEAST_VECTORS: usize = 4;

/// A convolution over padded NHWC images: a forward, or the one that grad_input is.
#[derive(Clone, Copy)]
pub struct Shape {
    pub batch: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub in_size: [usize; 2],
    pub out_size: [usize; 2],
    pub padding: [usize; 2],
}

impl Shape {
    pub fn forward(geometry: &Geometry) -> Shape {
        Shape {
            batch: geometry.batch,
            in_channels: geometry.in_channels,
            out_channels: geometry.out_channels,
            in_size: geometry.in_size,
            out_size: geometry.out_size(),
            padding: geometry.padding,
        }
    }

    pub fn grad_input(geometry: &Geometry) -> Shape {
        Shape {
            batch: geometry.batch,
            in_channels: geometry.out_channels,
            out_channels: geometry.in_channels,
            in_size: geometry.out_size(),
            out_size: geometry.in_size,
            padding: geometry.padding.map(|padding| 2 - padding),
        }
    }

    /// Rows and columns of tiles of an image.
    #[inline(always)]
    pub(super) fn tiles(&self) -> [usize; 2] {
        self.out_size.map(|size| size.div_ceil(2))
    }

    pub(super) fn in_groups(&self) -> usize {
        self.in_channels.div_ceil(LANES)
    }

    pub(super) fn out_vectors(&self) -> usize {
        self.out_channels.div_ceil(LANES)
    }
}

/// Rows of tiles, those of all images counted on, times vectors of output channels.
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
        // Whole blocks, if rows make them up.
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

    pub(super) fn row_range(&self, task: usize) -> Range<usize> {
        let rows = self.shape.batch * self.shape.tiles()[0];
        let first = task / self.vector_tasks * self.rows;
        first..(first + self.rows).min(rows)
    }

    pub(super) fn vector_range(&self, task: usize) -> Range<usize> {
        let first = task % self.vector_tasks * self.vectors;
        first..(first + self.vectors).min(self.shape.out_vectors())
    }
}

/// Tiles of a block, by the groups of input channels.
fn block(groups: usize) -> usize {
    match groups {
        0..8 => 2 * TILES,
        _ => 4 * TILES,
    }
}

/// Where a task keeps things in its scratch memory, in words.
pub(super) struct Layout {
    /// From one group of channels to the next, at one position.
    pub v_group: usize,
    /// From one position to the next. Not a multiple of the caches' own strides.
    pub v_position: usize,
    pub v: usize,
    /// From one position to the next.
    pub m_position: usize,
    pub m: usize,
    pub statistics: usize,
}

impl Layout {
    pub(super) fn new<T: Number>(plan: &Plan) -> Layout {
        let line = Line::BYTES / size_of::<u32>();
        let v_group = plan.block * words::<T>();
        let v_position = plan.shape.in_groups() * v_group + line;
        let m_position = plan.block * plan.vectors.min(2) * LANES + line;
        Layout {
            v_group,
            v_position,
            v: POSITIONS * v_position,
            m_position,
            m: POSITIONS * m_position,
            statistics: plan.vectors * 3 * LANES,
        }
    }
}
