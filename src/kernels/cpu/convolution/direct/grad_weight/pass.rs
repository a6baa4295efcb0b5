//! The whole gradient: runs the tasks and merges their partial gradients.

use std::marker::PhantomData;

use super::plan::Plan;
use super::rows::Spread;
use super::task::{buffer_words, Task};
use crate::cpu::{check_len, dispatch, lend, run_all, Number, Parallel, Parts};
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::{Geometry, Load};
use crate::kernels::cpu::reduce;

/// The gradients of the weight and the bias. Activations are `T`. Groups share them, so the gradients are sums over
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

impl<T: Number> GradWeight<'_, T> {
    /// Multiplies as `M`.
    ///
    /// # Errors
    /// The geometry is impossible or its groups have weights of their own, or a slice does not have
    /// its length; nothing is written then.
    pub fn run<M: Number>(self, parallel: &dyn Parallel) -> Result<()> {
        self.check()?;
        let plan = &Plan::new::<M>(self.geometry);
        let load = &self.load.map(|load| self.spread(load)).unwrap_or_default()[..];
        let GradWeight { x, grad_y, grad_weight, grad_bias, .. } = self;
        let grad_bias = grad_bias.unwrap_or_default();
        let row = grad_weight.len() / plan.geometry.out_channels;
        // The tasks of the first part write the result itself, those of other parts partial
        // gradients.
        let channels = plan.chunks * plan.chunk;
        let [weights, biases] = [channels * row, channels].map(|len| len * (plan.parts - 1));
        lend(weights + biases, |partial: &mut [f32]| {
            let (weights, biases) = partial.split_at_mut(weights);
            let inputs = Inputs { plan, x, load, grad_y };
            inputs.run_tasks::<M>(parallel, row, [grad_weight, weights], [grad_bias, biases])?;
            reduce::add(parallel, grad_weight, weights, channels * row)?;
            match grad_bias.is_empty() {
                true => Ok(()),
                false => reduce::add(parallel, grad_bias, biases, channels),
            }
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
            return Err(Error::Geometry { got: geometry.to_string() });
        }
        check_len("x", geometry.in_len(), self.x.len())?;
        check_len("grad_y", geometry.out_len(), self.grad_y.len())?;
        check_len("grad_weight", geometry.weight_len(), self.grad_weight.len())?;
        self.load.map_or(Ok(()), |load| load.check(geometry.in_channels))?;
        let bias = self.grad_bias.as_ref().map_or(geometry.bias_len(), |bias| bias.len());
        check_len("grad_bias", geometry.bias_len(), bias)
    }
}

/// What all tasks read.
struct Inputs<'a, T> {
    plan: &'a Plan,
    x: &'a [T],
    load: &'a [Spread],
    grad_y: &'a [T],
}

impl<T: Number> Inputs<'_, T> {
    /// Runs the tasks. Of the two weights and biases, tasks of the first part write the first and
    /// all others the second; biases are empty if they are not wanted. `row` is the length of the
    /// weight of one output channel.
    fn run_tasks<M: Number>(
        &self,
        parallel: &dyn Parallel,
        row: usize,
        weights: [&mut [f32]; 2],
        biases: [&mut [f32]; 2],
    ) -> Result<()> {
        let Inputs { plan, x, load, grad_y } = *self;
        let with_bias = !biases[0].is_empty();
        let weights = weights.map(|weight| Parts::new(weight, plan.chunk * row));
        let biases = biases.map(|bias| Parts::new(bias, plan.chunk));
        run_all(parallel, plan.parts * plan.chunks, |index| {
            let (part, chunk) = (index / plan.chunks, index % plan.chunks);
            let (which, at) = if part == 0 { (0, chunk) } else { (1, index - plan.chunks) };
            let grad_weight = weights[which].take(at);
            let grad_bias = if with_bias { biases[which].take(at) } else { &mut [] };
            // The memory is lent outside of `dispatch`, because a closure inside would not be
            // inlined.
            lend(buffer_words::<M>(plan).iter().sum(), |buffer: &mut [u32]| {
                dispatch(Task::<T, M> {
                    plan,
                    part,
                    chunk,
                    x,
                    load,
                    grad_y,
                    grad_weight,
                    grad_bias,
                    buffer,
                    products: PhantomData,
                });
            });
        })
    }
}
