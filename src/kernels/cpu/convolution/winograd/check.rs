//! Which convolutions and weights the Winograd kernels support.

use super::packed_weight::PackedWeight;
use crate::cpu::Number;
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::{Geometry, Operand};

/// Whether the Winograd kernels can compute a convolution.
pub fn takes(geometry: &Geometry) -> bool {
    geometry.check().is_ok()
        && geometry.kernel_size == [3, 3]
        && geometry.stride == [1, 1]
        && geometry.dilation == [1, 1]
        && geometry.groups == 1
        && geometry.padding.iter().all(|&padding| padding <= 2)
}

/// # Errors
/// The kernels do not support the geometry.
pub(super) fn check_geometry(geometry: &Geometry) -> Result<()> {
    match takes(geometry) {
        true => Ok(()),
        false => Err(Error::Geometry { got: format!("{geometry:?} for Winograd") }),
    }
}

/// # Errors
/// The weight was packed for other channels or another pass.
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
