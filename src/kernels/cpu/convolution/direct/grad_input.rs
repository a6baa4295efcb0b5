//! The gradient of the input: checks its slices and runs the correlation.

use super::correlation::{Correlation, Plan};
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
        let (viewed, view) = view(&geometry, Operand::GradInput, T::PER_WORD);
        let correlation = Correlation {
            plan: Plan::new(&viewed, geometry.groups, Operand::GradInput, T::PER_WORD),
            view,
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
