//! The forward: checks its slices and runs the correlation.

use super::check::check_geometry;
use super::correlation::{Correlation, Shape};
use super::packed_weight::{check_weight, PackedWeight};
use crate::cpu::{check_len, Number, Parallel};
use crate::error::Result;
use crate::kernels::cpu::convolution::{products, Moments, Operand};

/// Activations are `T`; they are multiplied as `M`.
pub type Forward<'a, T, M> = products::Forward<'a, T, PackedWeight<M>>;

impl<T: Number, M: Number> Forward<'_, T, M> {
    /// # Errors
    /// The geometry is not supported, the weight was packed for another one, or a slice does not
    /// have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<Option<Moments>> {
        self.check()?;
        Correlation {
            shape: Shape::forward(&self.geometry),
            x: self.x,
            load: self.load,
            weight: self.weight,
            bias: self.bias,
            residual: self.residual,
            activation: self.activation,
            statistics: self.statistics,
            y: self.y,
        }
        .run(parallel)
    }

    fn check(&self) -> Result<()> {
        let geometry = &self.geometry;
        check_geometry(geometry)?;
        check_weight(self.weight, geometry, Operand::Forward)?;
        check_len("x", geometry.in_len(), self.x.len())?;
        check_len("y", geometry.out_len(), self.y.len())?;
        self.load.map_or(Ok(()), |load| load.check(geometry.in_channels))?;
        let bias = |bias: &[f32]| check_len("bias", geometry.out_channels, bias.len());
        self.bias.map_or(Ok(()), bias)?;
        let residual = |residual: &[T]| check_len("residual", geometry.out_len(), residual.len());
        self.residual.map_or(Ok(()), residual)
    }
}
