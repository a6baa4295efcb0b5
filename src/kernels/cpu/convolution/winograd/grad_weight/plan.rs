//! How the gradient of the weight is cut into blocks and dealt to tasks: by its shape alone.

use std::ops::Range;

use super::super::rows::RING;
use super::super::POSITIONS;
use crate::cpu::{Line, Number, LANES};
use crate::kernels::cpu::convolution::Geometry;

/// Tasks that are enough for any machine's threads, where each costs a weight of its own.
const TASKS: usize = 16;
/// Channels of a task on either side, at most: their sums stay in the second cache.
const CHANNELS: usize = 64;
/// Words of a task, at least.
const LEAST_WORDS: usize = 32;

/// Some rows of tiles, times some channels of `x`, times some channels of `grad_y`.
pub(super) struct Plan {
    in_channels: usize,
    out_channels: usize,
    /// Rows and columns of tiles of an image.
    pub tiles: [usize; 2],
    /// Images side by side, of which a word has a tile each.
    pub images: usize,
    /// Words of a row of tiles.
    pub row_words: usize,
    /// Rows of all images.
    all_rows: usize,
    /// Words of a block.
    pub block: usize,
    /// Rows of a task.
    rows: usize,
    /// Sums that are merged.
    pub chunks: usize,
    /// Tasks that read the same rows, and how many blocks of channels of `x` they have.
    channel_tasks: usize,
    in_blocks: usize,
}

impl Plan {
    pub(super) fn new<T: Number>(geometry: &Geometry) -> Plan {
        let tiles = geometry.out_size().map(|size| size.div_ceil(2));
        let images = if tiles[1] % T::PER_WORD == 0 { 1 } else { T::PER_WORD };
        let row_words = tiles[1] * images / T::PER_WORD;
        let all_rows = geometry.batch.div_ceil(images) * tiles[0];
        let (in_channels, out_channels) = (geometry.in_channels, geometry.out_channels);
        let in_blocks = in_channels.div_ceil(CHANNELS);
        let channel_tasks = in_blocks * out_channels.div_ceil(CHANNELS);
        let most = (all_rows * row_words).div_ceil(LEAST_WORDS).min(all_rows);
        let chunks = TASKS.div_ceil(channel_tasks).min(most);
        let rows = all_rows.div_ceil(chunks);
        let block = if in_channels.max(out_channels) <= 16 { 16 } else { 32 };
        let chunks = all_rows.div_ceil(rows);
        let plan = Plan {
            in_channels,
            out_channels,
            tiles,
            images,
            row_words,
            all_rows,
            block,
            rows,
            chunks,
            channel_tasks,
            in_blocks,
        };
        debug_assert!(plan.tasks() >= chunks);
        plan
    }

    pub(super) fn tasks(&self) -> usize {
        self.chunks * self.channel_tasks
    }

    /// The number of a task's sums, and its rows of tiles. Tasks of the same rows follow each
    /// other, so that a thread keeps to its share of the images.
    pub(super) fn chunk(&self, task: usize) -> (usize, Range<usize>) {
        let chunk = task / self.channel_tasks;
        (chunk, chunk * self.rows..((chunk + 1) * self.rows).min(self.all_rows))
    }

    pub(super) fn in_range(&self, task: usize) -> Range<usize> {
        let block = task % self.channel_tasks % self.in_blocks;
        block * CHANNELS..((block + 1) * CHANNELS).min(self.in_channels)
    }

    pub(super) fn out_range(&self, task: usize) -> Range<usize> {
        let block = task % self.channel_tasks / self.in_blocks;
        block * CHANNELS..((block + 1) * CHANNELS).min(self.out_channels)
    }
}

/// Where a task keeps things in its scratch memory, in words.
pub(super) struct Layout {
    /// From one position to the next. Not multiples of the caches' own strides.
    pub v_position: usize,
    pub z_position: usize,
    pub sums_position: usize,
    pub v: usize,
    pub z: usize,
    pub sums: usize,
    pub bias: usize,
    pub ring: usize,
}

impl Layout {
    pub(super) fn new<T: Number>(plan: &Plan) -> Layout {
        let padded = |channels: usize| channels.min(CHANNELS).next_multiple_of(LANES);
        let (ins, outs) = (padded(plan.in_channels), padded(plan.out_channels));
        let line = Line::BYTES / size_of::<u32>();
        let (v_position, z_position) = (plan.block * ins + line, plan.block * outs + line);
        let sums_position = ins * outs + line;
        let x_line = (2 * plan.tiles[1] + 2) * ins;
        let grad_y_line = 2 * plan.tiles[1] * outs;
        let ring = plan.images * (RING * x_line + 2 * grad_y_line) * size_of::<T>();
        Layout {
            v_position,
            z_position,
            sums_position,
            v: POSITIONS * v_position,
            z: POSITIONS * z_position,
            sums: POSITIONS * sums_position,
            bias: 2 * outs,
            ring: ring.div_ceil(size_of::<u32>()).next_multiple_of(LANES),
        }
    }

    pub(super) fn words(&self) -> usize {
        self.ring + 2 * self.v + 2 * self.z + self.sums + self.bias
    }
}
