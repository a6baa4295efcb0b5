//! The gradient of the input: checks its slices and runs the correlation.

use super::check::check_geometry;
use super::correlation::Correlation;
use super::plan::Plan;
use crate::cpu::{check_len, Number, Parallel};
use crate::error::Result;
use crate::kernels::cpu::convolution::Geometry;

/// The gradient of [`Forward`](super::Forward)'s `x`, plus `add`.
pub struct GradInput<'a, T> {
    pub geometry: Geometry,
    /// Gradient of the forward's output, `[batch, height, width, channels]`.
    pub grad_y: &'a [T],
    /// `[channels, kernel height, kernel width]`, rounded first in bf16.
    pub weight: &'a [f32],
    /// In the layout of `grad_x`: another gradient of `x`, added before the rounding.
    pub add: Option<&'a [T]>,
    /// `[batch, height, width, channels]`
    pub grad_x: &'a mut [T],
}

impl<T: Number> GradInput<'_, T> {
    /// # Errors
    /// The geometry is not depthwise or a slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        self.check()?;
        let GradInput { geometry, grad_y, weight, add, grad_x } = self;
        let correlation = &Correlation::gradient(&geometry, grad_y, weight, add);
        let plan = &Plan::inputs(&geometry);
        correlation.run(parallel, plan, false, grad_x).map(|_| ())
    }

    fn check(&self) -> Result<()> {
        check_geometry(&self.geometry)?;
        check_len("grad_y", self.geometry.out_len(), self.grad_y.len())?;
        check_len("weight", self.geometry.weight_len(), self.weight.len())?;
        self.add.map_or(Ok(()), |add| check_len("add", self.geometry.in_len(), add.len()))?;
        check_len("grad_x", self.geometry.in_len(), self.grad_x.len())
    }
}
