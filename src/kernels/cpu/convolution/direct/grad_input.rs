//! The gradient of the input: checks its slices and runs the correlation.

use super::correlation::{Correlation, Plan};
use super::packed_weight::PackedWeight;
use super::view::view;
use crate::activation::Activation;
use crate::cpu::{check_len, Number, Parallel};
use crate::error::Result;
use crate::kernels::cpu::convolution::{products, Operand};

/// Activations are `T`; they are multiplied as `M`.
pub type GradInput<'a, T, M> = products::GradInput<'a, T, PackedWeight<M>>;

impl<T: Number, M: Number> GradInput<'_, T, M> {
    /// # Errors
    /// The weight was packed for another product, or a slice does not have its length; nothing is
    /// written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        let GradInput { geometry, grad_y, weight, add, grad_x } = self;
        weight.check(&geometry, Operand::GradInput)?;
        check_len("grad_y", geometry.out_len(), grad_y.len())?;
        add.map_or(Ok(()), |add| check_len("add", geometry.in_len(), add.len()))?;
        check_len("grad_x", geometry.in_len(), grad_x.len())?;
        let (viewed, view) = view(&geometry, Operand::GradInput, M::PER_WORD);
        let correlation = Correlation {
            plan: Plan::new(&viewed, geometry.groups, Operand::GradInput, M::PER_WORD),
            view,
            source: grad_y,
            load: None,
            weight,
            bias: None,
            residual: add,
            activation: Activation::IDENTITY,
            statistics: false,
        };
        correlation.run(parallel, grad_x).map(|_| ())
    }
}
