//! The gradients of a weight and a bias: all tasks, and their sum.

use super::merge::merge;
use super::plan::Plan;
use super::rows::Spread;
use super::task::{buffer_words, Task};
use crate::cpu::{check_len, dispatch, lend, run_all, Number, Parallel, Parts};
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::{Geometry, Load};

/// The gradients of a convolution's weight and bias, which all groups share: the sums over them.
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

#[allow(private_bounds)]
impl<T: Number> GradWeight<'_, T> {
    /// # Errors
    /// The geometry is impossible or its groups have weights of their own, or a slice does not have
    /// its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        self.check()?;
        let plan = Plan::new::<T>(self.geometry);
        let load = self.load.map(|load| self.spread(load)).unwrap_or_default();
        let row = self.grad_weight.len() / plan.geometry.out_channels;
        // A gradient and, behind it, its bias, for all tasks but those of the first part.
        let spare = plan.chunks * plan.chunk;
        let [weights, biases] = [spare * row, spare].map(|len| len * (plan.parts - 1));
        lend(weights + biases, |partial: &mut [f32]| {
            let (weights, biases) = partial.split_at_mut(weights);
            let (x, grad_y, load) = (self.x, self.grad_y, &load[..]);
            let (grad_weight, grad_bias) = (self.grad_weight, self.grad_bias.unwrap_or_default());
            let bias = !grad_bias.is_empty();
            {
                let parts = |weight, bias| {
                    (Parts::new(weight, plan.chunk * row), Parts::new(bias, plan.chunk))
                };
                let (first, rest) = (parts(grad_weight, grad_bias), parts(weights, biases));
                run_all(parallel, plan.parts * plan.chunks, |index| {
                    let (part, chunk) = (index / plan.chunks, index % plan.chunks);
                    let (parts, at) = match part {
                        0 => (&first, chunk),
                        _ => (&rest, index - plan.chunks),
                    };
                    let grad_weight = parts.0.take(at);
                    let grad_bias = if bias { parts.1.take(at) } else { &mut [] };
                    let plan = &plan;
                    // Outside of the task: what is inlined into it may have no closure around it.
                    lend(buffer_words::<T>(plan).iter().sum(), |buffer: &mut [u32]| {
                        dispatch(Task {
                            plan,
                            part,
                            chunk,
                            x,
                            load,
                            grad_y,
                            grad_weight,
                            grad_bias,
                            buffer,
                        });
                    });
                })?;
            }
            merge(parallel, grad_weight, weights, spare * row)?;
            if bias {
                merge(parallel, grad_bias, biases, spare)?;
            }
            Ok(())
        })
    }

    /// The load of each group.
    fn spread(&self, load: Load) -> Vec<Spread> {
        let channels = self.geometry.in_channels / self.geometry.groups;
        let first = (0..self.geometry.groups).map(|group| group * channels);
        first.map(|first| Spread::new(load.of(first..first + channels))).collect()
    }

    fn check(&self) -> Result<()> {
        let geometry = self.geometry;
        geometry.check()?;
        if !geometry.has_one_weight() {
            return Err(Error::Geometry { got: format!("{geometry:?}") });
        }
        check_len("x", geometry.in_len(), self.x.len())?;
        check_len("grad_y", geometry.out_len(), self.grad_y.len())?;
        check_len("grad_weight", geometry.weight_len(), self.grad_weight.len())?;
        self.load.map_or(Ok(()), |load| load.check(geometry.in_channels))?;
        let bias = self.grad_bias.as_ref().map_or(geometry.bias_len(), |bias| bias.len());
        check_len("grad_bias", geometry.bias_len(), bias)
    }
}
