//! The whole correlation: runs the tasks and merges their moments.

use super::super::axis::Axis;
use super::super::channel_blocks::ChannelBlocks;
use super::super::plan::Plan;
use super::operands::Correlation;
use super::phase::Phase;
use super::task::Task;
use crate::activation::Activation;
use crate::cpu::{run_all, Number, Parallel, Parts};
use crate::error::Result;
use crate::kernels::cpu::convolution::{Geometry, Moments};

impl<'a, T: Number> Correlation<'a, T> {
    /// The forward. `weight` is `[channels][kernel height][kernel width]` and is multiplied by
    /// `scale`.
    pub(in super::super) fn forward(
        geometry: &Geometry,
        x: &'a [T],
        weight: &[f32],
        scale: Option<&[f32]>,
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Self {
        let blocks = ChannelBlocks { channels: geometry.in_channels };
        let axes = [0, 1].map(|dim| Axis::forward(geometry, dim));
        Correlation {
            blocks,
            phases: [1, 1],
            all: vec![Phase::new::<T>(blocks, axes, geometry, weight, scale)],
            met: (0..axes[0].outputs).map(|row| (0, axes[0].met(row))).collect(),
            x,
            in_size: geometry.in_size,
            out_size: geometry.out_size(),
            bias: bias.map(|bias| blocks.pack(1, |channel, _| bias[channel])),
            add: None,
            activation,
        }
    }

    /// The gradient of the input, with `add` added to it.
    pub(in super::super) fn gradient(
        geometry: &Geometry,
        grad_y: &'a [T],
        weight: &[f32],
        add: Option<&'a [T]>,
    ) -> Self {
        let blocks = ChannelBlocks { channels: geometry.in_channels };
        let [height, width] = geometry.stride;
        let phase = |vertical, horizontal| {
            let axes =
                [Axis::gradient(geometry, 0, vertical), Axis::gradient(geometry, 1, horizontal)];
            Phase::new::<T>(blocks, axes, geometry, weight, None)
        };
        let all: Vec<Phase> = (0..height * width).map(|i| phase(i / width, i % width)).collect();
        let met = |row: usize| {
            let phase = row % height;
            (phase, all[phase * width].vertical.met(row / height))
        };
        Correlation {
            blocks,
            phases: geometry.stride,
            met: (0..geometry.in_size[0]).map(met).collect(),
            all,
            x: grad_y,
            in_size: geometry.out_size(),
            out_size: geometry.in_size,
            bias: None,
            add,
            activation: Activation::IDENTITY,
        }
    }

    /// Writes `y` and returns the moments of its channels if they are wanted.
    pub(in super::super) fn run(
        &self,
        parallel: &dyn Parallel,
        plan: &Plan,
        statistics: bool,
        y: &mut [T],
    ) -> Result<Option<Moments>> {
        let channels = self.blocks.channels;
        let parts = Parts::new(y, plan.part() * self.row_len());
        let mut partial = vec![0.0; if statistics { plan.tasks() * 2 * channels } else { 0 }];
        let partials = Parts::new(&mut partial, 2 * channels);
        run_all(parallel, plan.tasks(), |index| {
            let task = Task { correlation: self, plan, index, y: parts.take(index) };
            if statistics {
                let moments = task.run_with_moments();
                let (mean, squares) = partials.take(index).split_at_mut(channels);
                mean.copy_from_slice(&moments.mean);
                squares.copy_from_slice(&moments.squares);
            } else {
                task.run();
            }
        })?;
        let rows = |task| plan.bands(task).map(|band| band.len()).sum::<usize>();
        let counts = (0..plan.tasks()).map(|task| (rows(task) * self.out_size[1]) as f64);
        let tasks = counts.zip(partial.chunks_exact(2 * channels));
        Ok(statistics.then(|| Moments::merged(channels, tasks)))
    }
}
