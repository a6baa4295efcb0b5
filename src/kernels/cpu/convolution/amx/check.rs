//! Which convolutions the kernels with tiles support.

use std::any::Any;

use half::bf16;

use crate::cpu::{has_tiles, Element};
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::Geometry;

/// Whether tiles can compute a convolution of bf16.
pub fn takes(geometry: &Geometry) -> bool {
    geometry.check().is_ok() && geometry.has_one_weight()
}

/// # Errors
/// The geometry is impossible, its groups have weights of their own, or the machine has no tiles.
pub(super) fn check_geometry(geometry: &Geometry) -> Result<()> {
    geometry.check()?;
    match (geometry.has_one_weight(), has_tiles()) {
        (true, true) => Ok(()),
        (false, _) => Err(Error::Groups { groups: geometry.groups }),
        (_, false) => Err(Error::NoTiles),
    }
}

/// The same slice, whose numbers have to be bf16. The passes take any number, as those of the other
/// algorithms do.
///
/// # Errors
/// They are of another type.
pub(super) fn halves<T: Element>(slice: &[T]) -> Result<&[bf16]> {
    let none: [T; 0] = [];
    match (&none as &dyn Any).is::<[bf16; 0]>() {
        // SAFETY: `T` is bf16.
        true => Ok(unsafe { std::slice::from_raw_parts(slice.as_ptr().cast(), slice.len()) }),
        false => Err(Error::NoTiles),
    }
}

/// As [`halves`].
///
/// # Errors
/// They are of another type.
pub(super) fn halves_mut<T: Element>(slice: &mut [T]) -> Result<&mut [bf16]> {
    halves(slice)?;
    // SAFETY: `T` is bf16.
    Ok(unsafe { std::slice::from_raw_parts_mut(slice.as_mut_ptr().cast(), slice.len()) })
}
