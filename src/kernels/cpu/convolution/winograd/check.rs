//! Which convolutions the Winograd kernels support.

use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::Geometry;

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
        false => Err(Error::Geometry { got: format!("{geometry} for the Winograd kernels") }),
    }
}
