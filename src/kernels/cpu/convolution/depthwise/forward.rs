//! The forward: checks its slices and runs the correlation.

use super::check::check_geometry;
use super::correlation::Correlation;
use super::plan::Plan;

use crate::activation::Activation;
use crate::cpu::{check_len, Number, Parallel};
use crate::error::Result;
use crate::kernels::cpu::batch_norm::Moments;
use crate::kernels::cpu::convolution::Geometry;

/// `y = activation(convolution(x, weight * scale) + bias)`.
///
/// In bf16 the weight is rounded first; sums are f32.
pub struct Forward<'a, T> {
    pub geometry: Geometry,
    /// `[batch, height, width, channels]`
    pub x: &'a [T],
    /// `[channels, kernel height, kernel width]`
    pub weight: &'a [f32],
    /// `[channels]`: the scale of a batch norm that is folded into the weight; 1 if absent.
    pub scale: Option<&'a [f32]>,
    /// `[channels]`; 0 if absent.
    pub bias: Option<&'a [f32]>,
    pub activation: Activation,
    /// Whether to return the moments of each channel of `y` as it is stored.
    pub statistics: bool,
    /// `[batch, height, width, channels]`
    pub y: &'a mut [T],
}

impl<T: Number> Forward<'_, T> {
    /// # Errors
    /// The geometry is not depthwise or a slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<Option<Moments>> {
        self.check()?;
        let Forward { geometry, x, weight, scale, bias, activation, statistics, y } = self;
        let correlation = &Correlation::forward(&geometry, x, weight, scale, bias, activation);
        let plan = &Plan::outputs(&geometry);
        correlation.run(parallel, plan, statistics, y)
    }

    fn check(&self) -> Result<()> {
        check_geometry(&self.geometry)?;
        check_len("x", self.geometry.in_len(), self.x.len())?;
        check_len("weight", self.geometry.weight_len(), self.weight.len())?;
        let channels = self.geometry.out_channels;
        self.scale.map_or(Ok(()), |scale| check_len("scale", channels, scale.len()))?;
        self.bias.map_or(Ok(()), |bias| check_len("bias", channels, bias.len()))?;
        check_len("y", self.geometry.out_len(), self.y.len())
    }
}
