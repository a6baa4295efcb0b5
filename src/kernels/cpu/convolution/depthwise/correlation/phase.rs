//! One phase of a correlation, with its packed weight.

use super::super::axis::Axis;
use super::super::channel_blocks::ChannelBlocks;
use crate::cpu::Number;
use crate::kernels::cpu::convolution::Geometry;

/// The outputs at `phase + j * phases`, for all `j`, are sums over the same taps: output `j` reads
/// the sources that the axes give.
pub(super) struct Phase {
    pub vertical: Axis,
    pub horizontal: Axis,
    /// `[blocks][vertical taps][horizontal taps][LANES]`
    pub weight: Vec<f32>,
}

impl Phase {
    /// `weight` is `[channels][kernel height][kernel width]`.
    pub(super) fn new<T: Number>(
        blocks: ChannelBlocks,
        [vertical, horizontal]: [Axis; 2],
        geometry: &Geometry,
        weight: &[f32],
        scale: Option<&[f32]>,
    ) -> Phase {
        let width = geometry.kernel_size[1];
        let taps: Vec<usize> = (0..vertical.taps)
            .flat_map(|i| (0..horizontal.taps).map(move |j| (i, j)))
            .map(|(i, j)| vertical.index(i) * width + horizontal.index(j))
            .collect();
        let weight = blocks.pack(taps.len(), |channel, i| {
            // Rounded as activations are, and scaled afterwards.
            let value = T::from_f32(weight[channel * geometry.taps() + taps[i]]).to_f32();
            scale.map_or(value, |scale| value * scale[channel])
        });
        Phase { vertical, horizontal, weight }
    }
}
