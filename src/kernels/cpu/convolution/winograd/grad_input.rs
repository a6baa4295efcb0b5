//! The gradient of the input: checks its slices and runs the correlation.

use super::check::check_geometry;
use super::correlation::{Correlation, Shape};
use super::packed_weight::{check_weight, PackedWeight};
use crate::activation::Activation;
use crate::cpu::{check_len, Number, Parallel};
use crate::error::Result;
use crate::kernels::cpu::convolution::{products, Operand};

/// Activations are `T`; they are multiplied as `M`.
pub type GradInput<'a, T, M> = products::GradInput<'a, T, PackedWeight<M>>;

impl<T: Number, M: Number> GradInput<'_, T, M> {
    /// # Errors
    /// The geometry is not supported, the weight was packed for another one, or a slice does not
    /// have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        self.check()?;
        Correlation {
            shape: Shape::grad_input(&self.geometry),
            x: self.grad_y,
            load: None,
            weight: self.weight,
            bias: None,
            residual: self.add,
            activation: Activation::IDENTITY,
            statistics: false,
            y: self.grad_x,
        }
        .run(parallel)
        .map(|_| ())
    }

    fn check(&self) -> Result<()> {
        let geometry = &self.geometry;
        check_geometry(geometry)?;
        check_weight(self.weight, geometry, Operand::GradInput)?;
        check_len("grad_y", geometry.out_len(), self.grad_y.len())?;
        check_len("grad_x", geometry.in_len(), self.grad_x.len())?;
        self.add.map_or(Ok(()), |add| check_len("add", geometry.in_len(), add.len()))
    }
}
