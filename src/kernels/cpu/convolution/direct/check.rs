//! Which convolutions the direct kernels support.

use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::Geometry;

/// # Errors
/// The geometry is impossible, or its groups have weights of their own.
pub(super) fn check_geometry(geometry: &Geometry) -> Result<()> {
    geometry.check()?;
    match geometry.has_one_weight() {
        true => Ok(()),
        false => Err(Error::Groups { groups: geometry.groups }),
    }
}
