//! The operands of a correlation.

use super::super::axis::Met;
use super::super::channel_blocks::ChannelBlocks;
use super::phase::Phase;
use crate::activation::Activation;

/// `y = activation(correlation(x, weight) + bias + add)`. The slices have been checked.
pub(in super::super) struct Correlation<'a, T> {
    pub(super) blocks: ChannelBlocks,
    /// Number of vertical and of horizontal phases.
    pub(super) phases: [usize; 2],
    /// All phases: `[vertical][horizontal]`.
    pub(super) all: Vec<Phase>,
    /// The vertical phase of each row of outputs, and the taps that meet a row of the source.
    pub(super) met: Vec<(usize, Met)>,
    pub(super) x: &'a [T],
    pub(super) in_size: [usize; 2],
    pub(super) out_size: [usize; 2],
    /// `[blocks][LANES]`
    pub(super) bias: Option<Vec<f32>>,
    pub(super) add: Option<&'a [T]>,
    pub(super) activation: Activation,
}

impl<T> Correlation<'_, T> {
    /// Elements of a row of outputs.
    pub(super) fn row_len(&self) -> usize {
        self.out_size[1] * self.blocks.channels
    }
}
