//! The gradient of the input.

use super::plan::Plan;
use super::product::Product;
use super::weight::{length, PackedWeight};
use crate::error::Result;
use crate::kernels::cpu::convolution::{Geometry, Operand};
use crate::kernels::cpu::{Activation, Number, Parallel};

/// The gradient of the forward's `x`, as it was after its load.
pub struct GradInput<'a, T> {
    pub geometry: Geometry,
    /// `[batch, out height, out width, out_channels]`
    pub grad_y: &'a [T],
    /// Packed for [`Operand::GradInput`].
    pub weight: &'a PackedWeight<T>,
    /// As `grad_x`: another gradient of `x`, added before the rounding.
    pub add: Option<&'a [T]>,
    /// `[batch, height, width, in_channels]`
    pub grad_x: &'a mut [T],
}

impl<T: Number> GradInput<'_, T> {
    /// # Errors
    /// The weight was packed for another product, or a slice does not have its length; nothing is
    /// written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let GradInput { geometry, grad_y, weight, add, grad_x } = self;
        weight.check(&geometry, Operand::GradInput)?;
        length("grad_y", grad_y.len(), geometry.out_len())?;
        add.map_or(Ok(()), |add| length("add", add.len(), geometry.in_len()))?;
        length("grad_x", grad_x.len(), geometry.in_len())?;
        let product = Product {
            plan: Plan::new(&geometry, Operand::GradInput, T::PER_WORD),
            source: grad_y,
            load: None,
            weight: weight.words(),
            bias: None,
            residual: add,
            activation: Activation::IDENTITY,
            statistics: false,
        };
        product.run(parallel, grad_x).map(|_| ())
    }
}
