//! The shape of a layer norm.

use crate::cpu::{check_len, LANES};
use crate::error::{Error, Result};

/// Elements of a task, about.
const TASK: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub rows: usize,
    /// Elements of a row.
    pub features: usize,
}

impl Shape {
    pub(super) fn check(&self) -> Result<()> {
        match self.features {
            0 => Err(Error::EmptyLayerNorm { rows: self.rows }),
            _ => Ok(()),
        }
    }

    pub(super) fn check_matrix<T>(&self, name: &'static str, slice: &[T]) -> Result<()> {
        // No slice is as long as a saturated product: an overflow is refused too.
        check_len(name, self.rows.saturating_mul(self.features), slice.len())
    }

    pub(super) fn check_vector(&self, name: &'static str, slice: Option<&[f32]>) -> Result<()> {
        slice.map_or(Ok(()), |slice| check_len(name, self.features, slice.len()))
    }

    /// Rows of a task. The tasks do not depend on the threads, so that sums do not either.
    pub(super) fn rows_of_task(&self) -> usize {
        (TASK / self.features).next_multiple_of(LANES).max(LANES)
    }

    pub(super) fn tasks(&self) -> usize {
        self.rows.div_ceil(self.rows_of_task())
    }

    /// Elements of a row, filled up to whole vectors.
    pub(super) fn padded(&self) -> usize {
        self.features.next_multiple_of(LANES)
    }
}
