//! The forward.

use super::plan::Plan;
use super::product::Product;
use super::weight::{length, PackedWeight};
use crate::error::Result;
use crate::kernels::cpu::convolution::{Geometry, Load, Moments, Operand};
use crate::kernels::cpu::{Activation, Number, Parallel};

/// `y = activation(convolution(load(x), weight) + bias + residual)`.
pub struct Forward<'a, T> {
    pub geometry: Geometry,
    /// `[batch, height, width, in_channels]`
    pub x: &'a [T],
    pub load: Option<Load<'a>>,
    /// Packed for [`Operand::Forward`].
    pub weight: &'a PackedWeight<T>,
    /// `[out_channels]`
    pub bias: Option<&'a [f32]>,
    /// As `y`.
    pub residual: Option<&'a [T]>,
    pub activation: Activation,
    /// Gives the moments of each channel of `y`, as it is stored.
    pub statistics: bool,
    /// `[batch, out height, out width, out_channels]`
    pub y: &'a mut [T],
}

impl<T: Number> Forward<'_, T> {
    /// # Errors
    /// The weight was packed for another product, or a slice does not have its length; nothing is
    /// written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<Option<Moments>> {
        let Forward { geometry, x, load, weight, bias, residual, activation, statistics, y } = self;
        weight.check(&geometry, Operand::Forward)?;
        length("x", x.len(), geometry.in_len())?;
        load.map_or(Ok(()), |load| load.check(geometry.in_channels))?;
        bias.map_or(Ok(()), |bias| length("bias", bias.len(), geometry.out_channels))?;
        residual.map_or(Ok(()), |r| length("residual", r.len(), geometry.out_len()))?;
        length("y", y.len(), geometry.out_len())?;
        let product = Product {
            plan: Plan::new(&geometry, Operand::Forward, T::PER_WORD),
            source: x,
            load,
            weight: weight.words(),
            bias,
            residual,
            activation,
            statistics,
        };
        product.run(parallel, y)
    }
}
