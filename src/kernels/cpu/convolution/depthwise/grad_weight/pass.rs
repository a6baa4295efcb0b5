//! The whole gradient: runs the tasks and merges their partial gradients.

use super::super::axis::{Axis, Met};
use super::super::channel_blocks::ChannelBlocks;
use super::super::check::check_geometry;
use super::super::plan::Plan;
use super::merge::merge;
use super::task::Task;
use crate::cpu::{check_len, run_all, Number, Parallel, Parts, LANES};
use crate::error::Result;
use crate::kernels::cpu::convolution::Geometry;

/// The gradients of [`Forward`](super::super::Forward)'s weight and bias.
pub struct GradWeight<'a, T> {
    pub geometry: Geometry,
    /// `[batch, height, width, channels]`
    pub x: &'a [T],
    /// Gradient of the forward's output, `[batch, height, width, channels]`.
    pub grad_y: &'a [T],
    /// `[channels, kernel height, kernel width]`
    pub grad_weight: &'a mut [f32],
    /// `[channels]`
    pub grad_bias: Option<&'a mut [f32]>,
}

impl<T: Number> GradWeight<'_, T> {
    /// # Errors
    /// The geometry is not depthwise or a slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        self.check()?;
        let GradWeight { geometry, x, grad_y, grad_weight, grad_bias } = self;
        let blocks = ChannelBlocks { channels: geometry.in_channels };
        let plan = &Plan::outputs(&geometry);
        let [vertical, horizontal] = [0, 1].map(|dim| Axis::forward(&geometry, dim));
        let met: &[Met] = &(0..vertical.outputs).map(|row| vertical.met(row)).collect::<Vec<_>>();
        let zeros = &vec![T::from_f32(0.0); horizontal.inputs * blocks.channels][..];
        // The last vector of each block holds the gradient of the bias.
        let vectors = geometry.taps() + 1;
        let part = blocks.count() * vectors * LANES;
        let mut partial = vec![0.0; plan.tasks() * part];
        let partials = Parts::new(&mut partial, part);
        let bias = grad_bias.is_some();
        run_all(parallel, plan.tasks(), |index| {
            let sums = partials.take(index);
            for band in plan.bands(index) {
                let task =
                    Task { blocks, vertical, horizontal, x, grad_y, met, zeros, band, bias, sums };
                task.run();
            }
        })?;
        merge(parallel, blocks, vectors, &partial, grad_weight, grad_bias)
    }

    fn check(&self) -> Result<()> {
        check_geometry(&self.geometry)?;
        check_len("x", self.geometry.in_len(), self.x.len())?;
        check_len("grad_y", self.geometry.out_len(), self.grad_y.len())?;
        check_len("grad_weight", self.geometry.weight_len(), self.grad_weight.len())?;
        let channels = self.geometry.out_channels;
        self.grad_bias.as_ref().map_or(Ok(()), |bias| check_len("grad_bias", channels, bias.len()))
    }
}
