//! The whole correlation: runs the tasks and merges their moments.

use super::super::packed_weight::PackedWeight;
use super::super::rows::{SourceRows, RING};
use super::layout::Layout;
use super::moments::{merged, Total};
use super::plan::Plan;
use super::shape::Shape;
use super::task::Task;
use crate::activation::Activation;
use crate::cpu::{dispatch, lend, run_all, Number, Parallel, Parts, SharedSlice, LANES};
use crate::error::Result;
use crate::kernels::cpu::convolution::{Load, Moments};

/// `y = activation(correlation(load(x), weight) + bias + residual)`. The slices have been
/// checked.
pub(in super::super) struct Correlation<'a, T, M> {
    pub shape: Shape,
    pub x: &'a [T],
    pub load: Option<Load<'a>>,
    pub weight: &'a PackedWeight<M>,
    pub bias: Option<&'a [f32]>,
    pub residual: Option<&'a [T]>,
    pub activation: Activation,
    pub statistics: bool,
    pub y: &'a mut [T],
}

impl<T: Number, M: Number> Correlation<'_, T, M> {
    /// Writes `y` and returns the moments of its channels if they are wanted.
    pub(in super::super) fn run(self, parallel: &dyn Parallel) -> Result<Option<Moments>> {
        let plan = Plan::new(self.shape);
        let layout = Layout::new::<M>(&plan);
        let mut totals = match self.statistics {
            true => vec![Total::NONE; plan.tasks() * plan.vectors],
            false => Vec::new(),
        };
        let parts = Parts::new(&mut totals, plan.vectors);
        let [_, columns] = self.shape.tiles();
        let source = SourceRows {
            source: self.x,
            batch: self.shape.batch,
            size: self.shape.in_size,
            channels: self.shape.in_channels,
            first: 0,
            count: self.shape.in_channels,
            padding: self.shape.padding,
            width: 2 * columns + 2,
            load: self.load,
        };
        let ring = (RING * source.len() * size_of::<M>()).div_ceil(size_of::<u32>());
        let ring = ring.next_multiple_of(LANES);
        let memory = ring + 2 * layout.v + 2 * layout.m + layout.statistics;
        let y = SharedSlice::new(self.y);
        run_all(parallel, plan.tasks(), |index| {
            lend(memory, |memory: &mut [u32]| {
                dispatch(Task::<T, M> {
                    plan: &plan,
                    layout: &layout,
                    source,
                    weight: self.weight,
                    bias: self.bias,
                    residual: self.residual,
                    activation: self.activation,
                    statistics: self.statistics.then(|| parts.take(index)),
                    y,
                    index,
                    ring,
                    memory,
                });
            });
        })?;
        Ok(self.statistics.then(|| merged(&plan, &totals)))
    }
}
