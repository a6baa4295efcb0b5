//! The gradient of the input.

use super::correlation::{Plan, Product};
use super::packed_weight::PackedWeight;
use super::view::view;
use crate::activation::Activation;
use crate::cpu::{check_len, Number, Parallel};
use crate::error::Result;
use crate::kernels::cpu::convolution::{products, Operand};

pub type GradInput<'a, T> = products::GradInput<'a, T, PackedWeight<T>>;

impl<T: Number> GradInput<'_, T> {
    /// # Errors
    /// The weight was packed for another product, or a slice does not have its length; nothing is
    /// written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let GradInput { geometry, grad_y, weight, add, grad_x } = self;
        weight.check(&geometry, Operand::GradInput)?;
        check_len("grad_y", geometry.out_len(), grad_y.len())?;
        add.map_or(Ok(()), |add| check_len("add", geometry.in_len(), add.len()))?;
        check_len("grad_x", geometry.in_len(), grad_x.len())?;
        let (seen, view) = view(&geometry, Operand::GradInput, T::PER_WORD);
        let product = Product {
            plan: Plan::new(&seen, geometry.groups, Operand::GradInput, T::PER_WORD),
            view,
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
