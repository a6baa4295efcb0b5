//! The whole gradient: runs the tasks and merges their partial gradients.

use half::bf16;

use super::super::check::{check_geometry, halves};
use super::plan::Plan;
use super::task::Task;
use crate::cpu::{check_len, dispatch_tiles, lend, run_all, Element, Parallel, SharedSlice};
use crate::error::Result;
use crate::kernels::cpu::convolution::{Geometry, Load};
use crate::kernels::cpu::reduce;

/// The gradients of the weight and the bias. Groups share them, so the gradients are sums over
/// groups.
pub struct GradWeight<'a, T> {
    pub geometry: Geometry,
    /// `[batch, height, width, in_channels]`
    pub x: &'a [T],
    /// What the forward did to `x` as it read it.
    pub load: Option<Load<'a>>,
    /// `[batch, out height, out width, out_channels]`
    pub grad_y: &'a [T],
    /// `[out_channels / num_blocks, kernel height, kernel width, in_channels / groups]`
    pub grad_weight: &'a mut [f32],
    /// `[out_channels / num_blocks]`
    pub grad_bias: Option<&'a mut [f32]>,
}

impl<T: Element> GradWeight<'_, T> {
    /// # Errors
    /// The numbers are not bf16, the geometry is not supported, or a slice does not have its
    /// length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        self.check()?;
        let (x, grad_y) = (halves(self.x)?, halves(self.grad_y)?);
        let plan = &Plan::new(&self.geometry);
        let inputs = Inputs { plan, x, load: self.load, grad_y };
        let (weight, bias) = (self.grad_weight, self.grad_bias.unwrap_or_default());
        if plan.parts == 1 {
            return inputs.run(parallel, weight, bias);
        }
        let [weights, biases] = [weight.len(), bias.len()].map(|len| plan.parts * len);
        lend(weights + biases, |partial: &mut [f32]| {
            let (weights, biases) = partial.split_at_mut(weights);
            inputs.run(parallel, weights, biases)?;
            reduce::sum(parallel, weight, weights)?;
            match bias.is_empty() {
                true => Ok(()),
                false => reduce::sum(parallel, bias, biases),
            }
        })
    }

    fn check(&self) -> Result<()> {
        let geometry = &self.geometry;
        check_geometry(geometry)?;
        check_len("x", geometry.in_len(), self.x.len())?;
        check_len("grad_y", geometry.out_len(), self.grad_y.len())?;
        check_len("grad_weight", geometry.weight_len(), self.grad_weight.len())?;
        self.load.map_or(Ok(()), |load| load.check(geometry.in_channels))?;
        let bias = self.grad_bias.as_ref().map_or(geometry.bias_len(), |bias| bias.len());
        check_len("grad_bias", geometry.bias_len(), bias)
    }
}

/// What all tasks read.
struct Inputs<'a> {
    plan: &'a Plan,
    x: &'a [bf16],
    load: Option<Load<'a>>,
    grad_y: &'a [bf16],
}

impl Inputs<'_> {
    /// Computes the gradients of all parts, one after the other in the slices. The bias is empty if
    /// it is not wanted.
    fn run(&self, parallel: &dyn Parallel, weights: &mut [f32], biases: &mut [f32]) -> Result<()> {
        let Inputs { plan, x, load, grad_y } = *self;
        let [weight, bias] = [weights.len(), biases.len()].map(|len| len / plan.parts);
        let [weights, biases] = [SharedSlice::new(weights), SharedSlice::new(biases)];
        run_all(parallel, plan.tasks(), |index| {
            let (part, outs, ins) = plan.task(index);
            // Tasks of the first input channels have the bias.
            let bias = if ins.start == 0 { part * bias..(part + 1) * bias } else { 0..0 };
            let [grad_weight, grad_bias] =
                [weights.part(part * weight..(part + 1) * weight), biases.part(bias)];
            lend(plan.memory(outs.len(), ins.len()).iter().sum(), |memory: &mut [u32]| {
                let task =
                    Task { plan, part, outs, ins, x, load, grad_y, grad_weight, grad_bias, memory };
                dispatch_tiles(&plan.shapes(), task);
            });
        })
    }
}
