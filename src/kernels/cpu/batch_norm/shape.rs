//! The shape of the data and the checks of slices against it.

use crate::cpu::check_len;
use crate::error::{Error, Result};

/// A row-major matrix: `rows = N * H * W` of NHWC data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub rows: usize,
    pub channels: usize,
}

impl Shape {
    pub(super) fn check(&self) -> Result<()> {
        match *self {
            Shape { rows: 1.., channels: 1.. } => Ok(()),
            Shape { rows, channels } => Err(Error::EmptyBatchNorm { rows, channels }),
        }
    }

    /// `slice` holds one element for each row and channel.
    pub(super) fn check_matrix<T>(&self, name: &'static str, slice: &[T]) -> Result<()> {
        // No slice is as long as a saturated product: an overflow is refused too.
        check_len(name, self.rows.saturating_mul(self.channels), slice.len())
    }

    /// `slice` holds one element for each channel.
    pub(super) fn check_channels<T>(&self, name: &'static str, slice: &[T]) -> Result<()> {
        check_len(name, self.channels, slice.len())
    }
}
