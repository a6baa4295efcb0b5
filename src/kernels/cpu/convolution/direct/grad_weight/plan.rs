//! How the gradient is divided into tasks, which depends on the shape alone.

use std::ops::Range;

use super::layout::Layout;
use crate::cpu::{Number, LANES};
use crate::kernels::cpu::convolution::Geometry;

/// Numbers of tasks to choose from.
const TASKS: [usize; 3] = [16, 32, 64];

/// Cycles to pack a vector, and to add a vector of a partial gradient.
const PACK: f64 = 2.5;
const MERGE: f64 = 4.0;

#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// The geometry of a group.
    pub geometry: Geometry,
    pub groups: usize,
    pub layout: Layout,
    /// Output channels of a task.
    pub chunk: usize,
    /// Number of parts into which the output channels are divided.
    pub chunks: usize,
    /// Number of parts into which the strips are divided.
    pub parts: usize,
    strips: usize,
}

impl Plan {
    pub(super) fn new<M: Number>(geometry: Geometry) -> Plan {
        let groups = geometry.groups;
        let geometry = geometry.of_group().joined_rows();
        let layout = Layout::new(&geometry, M::PER_WORD);
        let strips = layout.strips(&geometry);
        let plans = TASKS.into_iter().flat_map(|tasks| {
            let blocks = geometry.out_channels.div_ceil(LANES);
            (1..=blocks).map(move |chunk| {
                let chunks = blocks.div_ceil(chunk);
                let parts = (tasks / chunks).clamp(1, strips);
                let chunk = chunk * LANES;
                Plan { geometry, groups, layout, chunk, chunks, parts, strips }
            })
        });
        plans.min_by(|a, b| a.cost().total_cmp(&b.cost())).expect("there are channels")
    }

    /// Estimated cycles of the work and of the wait for the last task.
    fn cost(&self) -> f64 {
        let Layout { steps, taps, blocks, columns, .. } = self.layout;
        let height = self.geometry.out_size()[0];
        let images = self.geometry.batch * self.groups;
        let rows = images * self.layout.packed_rows(height);
        let vectors = images * height * steps * taps[0] * taps[1] * blocks;
        let compute = (vectors * self.chunks * self.chunk) as f64 / 2.0;
        let pack = (rows * columns * blocks * self.chunks) as f64 * PACK;
        let partial = 2 * (self.parts - 1) * self.geometry.weight_len() / LANES;
        let wait = 0.5 * compute / (self.parts * self.chunks) as f64;
        compute + pack + partial as f64 * MERGE + 2.0 * wait
    }

    /// The strips of a part.
    pub(super) fn strips(&self, part: usize) -> Range<usize> {
        part * self.strips / self.parts..(part + 1) * self.strips / self.parts
    }
}
