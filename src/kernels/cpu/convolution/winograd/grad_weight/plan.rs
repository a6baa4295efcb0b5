//! How the gradient is divided into tasks and blocks, which depends on its shape alone.

use std::ops::Range;

use crate::cpu::Number;
use crate::kernels::cpu::convolution::Geometry;

/// Tasks that keep the threads of any machine busy. There are no more, because each of them may
/// take a partial gradient of its own.
const TASKS: usize = 16;
/// The most input and the most output channels of a task. Their sums stay in the second-level
/// cache.
pub(super) const CHANNELS: usize = 64;
/// The fewest words of a task.
const LEAST_WORDS: usize = 32;

/// A task has some rows of tiles, some channels of `x` and some channels of `grad_y`. The tiles are
/// the contracted dimension, so a word holds as many tiles as it has numbers.
pub(super) struct Plan {
    pub in_channels: usize,
    pub out_channels: usize,
    /// Rows and columns of tiles of an image.
    pub tiles: [usize; 2],
    /// Images that are processed side by side, because a word holds a tile of each.
    pub images: usize,
    /// Words of a row of tiles.
    pub row_words: usize,
    /// Rows of tiles of all images.
    all_rows: usize,
    /// Words of a block.
    pub block: usize,
    /// Rows of tiles of a task.
    rows: usize,
    /// Partial gradients, which are merged.
    pub chunks: usize,
    /// Tasks that read the same rows.
    channel_tasks: usize,
    /// Blocks of input channels of these tasks.
    in_blocks: usize,
}

impl Plan {
    pub(super) fn new<M: Number>(geometry: &Geometry) -> Plan {
        let tiles = geometry.out_size().map(|size| size.div_ceil(2));
        let images = if tiles[1] % M::PER_WORD == 0 { 1 } else { M::PER_WORD };
        let row_words = tiles[1] * images / M::PER_WORD;
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

    /// The index of a task's partial gradient, and its rows of tiles. Tasks of the same rows have
    /// consecutive indices, so that a thread keeps to its share of the images.
    pub(super) fn chunk(&self, task: usize) -> (usize, Range<usize>) {
        let chunk = task / self.channel_tasks;
        (chunk, chunk * self.rows..((chunk + 1) * self.rows).min(self.all_rows))
    }

    /// The input channels of a task.
    pub(super) fn in_range(&self, task: usize) -> Range<usize> {
        let block = task % self.channel_tasks % self.in_blocks;
        block * CHANNELS..((block + 1) * CHANNELS).min(self.in_channels)
    }

    /// The output channels of a task.
    pub(super) fn out_range(&self, task: usize) -> Range<usize> {
        let block = task % self.channel_tasks / self.in_blocks;
        block * CHANNELS..((block + 1) * CHANNELS).min(self.out_channels)
    }
}
