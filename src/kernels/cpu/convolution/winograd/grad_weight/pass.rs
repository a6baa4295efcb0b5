//! The whole gradient: runs the tasks and merges their partial gradients.

use std::marker::PhantomData;

use super::super::check::check_geometry;
use super::super::rows::SourceRows;
use super::layout::Layout;
use super::plan::Plan;
use super::task::Task;
use crate::cpu::{check_len, dispatch, lend, run_all, Number, Parallel, SharedSlice};
use crate::error::Result;
use crate::kernels::cpu::convolution::{Geometry, Load};
use crate::kernels::cpu::reduce;

/// The gradients of the weight and, if wanted, of the bias.
pub struct GradWeight<'a, T> {
    pub geometry: Geometry,
    /// `[batch, height, width, in_channels]`
    pub x: &'a [T],
    /// What the forward did to `x` as it read it.
    pub load: Option<Load<'a>>,
    /// `[batch, out height, out width, out_channels]`
    pub grad_y: &'a [T],
    /// `[out_channels, 3, 3, in_channels]`
    pub grad_weight: &'a mut [f32],
    /// `[out_channels]`
    pub grad_bias: Option<&'a mut [f32]>,
}

impl<T: Number> GradWeight<'_, T> {
    /// Multiplies as `M`.
    ///
    /// # Errors
    /// The geometry is not supported, or a slice does not have its length; nothing is written then.
    pub fn run<M: Number>(mut self, parallel: &dyn Parallel) -> Result<()> {
        self.check()?;
        let plan = Plan::new::<M>(&self.geometry);
        let grad_weight = std::mem::take(&mut self.grad_weight);
        let grad_bias = self.grad_bias.take();
        let wanted = grad_bias.is_some();
        let grad_bias = grad_bias.unwrap_or_default();
        if plan.chunks == 1 {
            let (weight, bias) = (SharedSlice::new(grad_weight), SharedSlice::new(grad_bias));
            return self.sums::<M>(parallel, &plan, weight, wanted.then_some(bias));
        }
        let (weight_len, bias_len) = (grad_weight.len(), grad_bias.len());
        lend(plan.chunks * (weight_len + bias_len), |partial: &mut [f32]| {
            let (weight, bias) = partial.split_at_mut(plan.chunks * weight_len);
            let shared = SharedSlice::new(&mut *bias);
            self.sums::<M>(
                parallel,
                &plan,
                SharedSlice::new(&mut *weight),
                wanted.then_some(shared),
            )?;
            reduce::sum(parallel, grad_weight, weight)?;
            reduce::sum(parallel, grad_bias, bias)
        })
    }

    /// Computes the partial gradients.
    fn sums<M: Number>(
        &self,
        parallel: &dyn Parallel,
        plan: &Plan,
        grad_weight: SharedSlice<'_, f32>,
        grad_bias: Option<SharedSlice<'_, f32>>,
    ) -> Result<()> {
        let layout = Layout::new::<M>(plan);
        run_all(parallel, plan.tasks(), |index| {
            let [x, grad_y] = self.sources(plan, index);
            lend(layout.words(), |memory: &mut [u32]| {
                let layout = &layout;
                let products = PhantomData::<M>;
                dispatch(Task {
                    plan,
                    layout,
                    x,
                    grad_y,
                    grad_weight,
                    grad_bias,
                    index,
                    memory,
                    products,
                });
            });
        })
    }

    /// The rows of `x` and `grad_y` with the channels of a task.
    fn sources(&self, plan: &Plan, task: usize) -> [SourceRows<'_, T>; 2] {
        let geometry = &self.geometry;
        let (ins, outs) = (plan.in_range(task), plan.out_range(task));
        let x = SourceRows {
            source: self.x,
            batch: geometry.batch,
            size: geometry.in_size,
            channels: geometry.in_channels,
            first: ins.start,
            count: ins.len(),
            padding: geometry.padding,
            width: 2 * plan.tiles[1] + 2,
            load: self.load,
        };
        let grad_y = SourceRows {
            source: self.grad_y,
            size: geometry.out_size(),
            channels: geometry.out_channels,
            first: outs.start,
            count: outs.len(),
            padding: [0; 2],
            width: 2 * plan.tiles[1],
            load: None,
            ..x
        };
        [x, grad_y]
    }

    fn check(&self) -> Result<()> {
        let geometry = &self.geometry;
        check_geometry(geometry)?;
        check_len("x", geometry.in_len(), self.x.len())?;
        check_len("grad_y", geometry.out_len(), self.grad_y.len())?;
        check_len("grad_weight", geometry.weight_len(), self.grad_weight.len())?;
        self.load.map_or(Ok(()), |load| load.check(geometry.in_channels))?;
        let bias = self.grad_bias.as_ref().map_or(geometry.out_channels, |bias| bias.len());
        check_len("grad_bias", geometry.out_channels, bias)
    }
}
