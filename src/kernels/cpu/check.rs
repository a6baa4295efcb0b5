//! What must hold of every kernel's slices before it runs: their lengths.

use crate::error::{Error, Result};

/// # Errors
/// The slice `name` has `got` elements, not the `expected` ones.
pub(super) fn check_len(name: &'static str, expected: usize, got: usize) -> Result<()> {
    match got == expected {
        true => Ok(()),
        false => Err(Error::SliceLength { name, expected, got }),
    }
}
