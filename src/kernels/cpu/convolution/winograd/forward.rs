//! The forward pass.

use super::check::check_geometry;
use super::correlation::{Convolve, Shape};
use super::packed_weight::PackedWeight;
use crate::cpu::{check_len, Number, Parallel};
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::{products, Geometry, Moments, Operand};

pub type Forward<'a, T> = products::Forward<'a, T, PackedWeight<T>>;

impl<T: Number> Forward<'_, T> {
    /// # Errors
    /// Winograd does not take the geometry, or the weight or a slice is not of its shape; nothing
    /// is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<Option<Moments>> {
        self.check()?;
        Convolve {
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

/// The weight was packed for these channels and this pass.
pub(super) fn check_weight<T: Number>(
    weight: &PackedWeight<T>,
    geometry: &Geometry,
    operand: Operand,
) -> Result<()> {
    match weight.is_for(geometry, operand) {
        true => Ok(()),
        false => Err(Error::Geometry { got: format!("{geometry:?} with another one's weight") }),
    }
}
