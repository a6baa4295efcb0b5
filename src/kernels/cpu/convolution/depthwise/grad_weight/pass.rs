//! The gradients of weight and bias.

use super::super::axis::{Axis, Met};
use super::super::channel_blocks::ChannelBlocks;
use super::super::check::check_geometry;
use super::super::plan::Plan;
use super::task::WeightPass;
use crate::cpu::{check_len, dispatch, run_all, Kernel, Number, Parallel, Parts, Simd, LANES};
use crate::error::Result;
use crate::kernels::cpu::convolution::Geometry;

/// Values that a merging task reads: fewer are not worth another thread.
const MERGE_VALUES: usize = 32 * 1024;

/// The gradients of [`Forward`](super::super::Forward)'s weight and bias.
pub struct GradWeight<'a, T> {
    pub geometry: Geometry,
    /// `[batch, height, width, channels]`
    pub x: &'a [T],
    /// Of the forward's output, `[batch, height, width, channels]`.
    pub grad_y: &'a [T],
    /// `[channels, kernel height, kernel width]`
    pub grad_weight: &'a mut [f32],
    /// `[channels]`
    pub grad_bias: Option<&'a mut [f32]>,
}

#[allow(private_bounds)]
impl<T: Number> GradWeight<'_, T> {
    /// # Errors
    /// The geometry is not depthwise or a slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        self.check()?;
        let GradWeight { geometry, x, grad_y, grad_weight, grad_bias } = self;
        let windows = ChannelBlocks { channels: geometry.in_channels };
        let plan = &Plan::outputs(&geometry);
        let [vertical, horizontal] = [0, 1].map(|dim| Axis::forward(&geometry, dim));
        let met: &[Met] = &(0..vertical.outputs).map(|row| vertical.met(row)).collect::<Vec<_>>();
        let zeros = &vec![T::from_f32(0.0); horizontal.inputs * windows.channels][..];
        // The last vector of each window is the bias's.
        let vectors = geometry.taps() + 1;
        let part = windows.count() * vectors * LANES;
        let mut partial = vec![0.0; plan.tasks() * part];
        let partials = Parts::new(&mut partial, part);
        let bias = grad_bias.is_some();
        run_all(parallel, plan.tasks(), |task| {
            let sums = partials.take(task);
            for band in plan.bands(task) {
                let pass = WeightPass {
                    windows,
                    vertical,
                    horizontal,
                    x,
                    grad_y,
                    met,
                    zeros,
                    band,
                    bias,
                    sums,
                };
                pass.run();
            }
        })?;
        merge(parallel, windows, vectors, &partial, grad_weight, grad_bias)
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

/// Adds up what the tasks have found, in their order, and lays it out as the weight is.
fn merge(
    parallel: &dyn Parallel,
    windows: ChannelBlocks,
    vectors: usize,
    partial: &[f32],
    grad_weight: &mut [f32],
    grad_bias: Option<&mut [f32]>,
) -> Result<()> {
    let tasks = partial.len() / (windows.count() * vectors * LANES);
    let together = MERGE_VALUES.div_ceil(tasks * vectors * LANES);
    let weights = Parts::new(grad_weight, together * LANES * (vectors - 1));
    let biases = grad_bias.map(|bias| Parts::new(bias, together * LANES));
    run_all(parallel, windows.count().div_ceil(together), |task| {
        let range = task * together..((task + 1) * together).min(windows.count());
        let weight = weights.take(task);
        let bias = biases.as_ref().map_or(&mut [][..], |biases| biases.take(task));
        dispatch(Merge { windows, vectors, partial, range, weight, bias });
    })
}

/// The sums of some windows.
struct Merge<'a> {
    windows: ChannelBlocks,
    vectors: usize,
    /// `[tasks][windows][vectors][LANES]`
    partial: &'a [f32],
    range: std::ops::Range<usize>,
    /// Of the channels that belong to these windows and no earlier one.
    weight: &'a mut [f32],
    /// Empty if nobody asks for it.
    bias: &'a mut [f32],
}

impl Kernel for Merge<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (vectors, taps) = (self.vectors, self.vectors - 1);
        for window in self.range.clone() {
            let own = window * LANES..((window + 1) * LANES).min(self.windows.channels);
            let skipped = own.start - self.windows.start(window);
            let at = (window - self.range.start) * LANES;
            for vector in 0..vectors {
                let sum = self.sum(simd, window * vectors + vector);
                let values = &sum[skipped..skipped + own.len()];
                if vector < taps {
                    let to = self.weight[at * taps + vector..].iter_mut().step_by(taps);
                    to.zip(values).for_each(|(to, value)| *to = *value);
                } else if !self.bias.is_empty() {
                    self.bias[at..at + own.len()].copy_from_slice(values);
                }
            }
        }
    }
}

impl Merge<'_> {
    /// One vector of all tasks.
    #[inline(always)]
    fn sum<S: Simd>(&self, simd: S, vector: usize) -> [f32; LANES] {
        let mut result = [0.0; LANES];
        let mut sum = simd.zero();
        for task in self.partial.chunks_exact(self.windows.count() * self.vectors * LANES) {
            let values = &task[vector * LANES..(vector + 1) * LANES];
            // SAFETY: the slice holds a vector.
            sum = simd.add(sum, unsafe { simd.load_f32(values.as_ptr()) });
        }
        // SAFETY: so does the array.
        unsafe { simd.store_f32(result.as_mut_ptr(), sum) };
        result
    }
}
