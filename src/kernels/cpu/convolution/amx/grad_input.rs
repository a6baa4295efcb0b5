//! The gradient of the input: checks its slices and runs the correlation.

use super::check::{halves, halves_mut};
use super::correlation::{Correlation, Plan};
use super::packed_weight::PackedWeight;
use crate::activation::Activation;
use crate::cpu::{check_len, Element, Parallel};
use crate::error::Result;
use crate::kernels::cpu::convolution::{products, Operand};

pub type GradInput<'a, T> = products::GradInput<'a, T, PackedWeight>;

impl<T: Element> GradInput<'_, T> {
    /// # Errors
    /// The numbers are not bf16, the weight was packed for another product, or a slice does not
    /// have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let GradInput { geometry, grad_y, weight, add, grad_x } = self;
        let (grad_y, grad_x) = (halves(grad_y)?, halves_mut(grad_x)?);
        let add = add.map(halves).transpose()?;
        weight.check(&geometry, Operand::GradInput)?;
        check_len("grad_y", geometry.out_len(), grad_y.len())?;
        add.map_or(Ok(()), |add| check_len("add", geometry.in_len(), add.len()))?;
        check_len("grad_x", geometry.in_len(), grad_x.len())?;
        let correlation = Correlation {
            plan: Plan::new(&geometry, Operand::GradInput),
            source: grad_y,
            load: None,
            weight: weight.words(),
            bias: None,
            residual: add,
            activation: Activation::IDENTITY,
            statistics: false,
        };
        correlation.run(parallel, grad_x).map(|_| ())
    }
}
