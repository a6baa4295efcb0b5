//! What a schedule counts in.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The unit of a schedule's lengths. Epochs are a convenience for people: `Schedule::in_steps`
/// turns them into steps before the training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    #[default]
    Steps,
    Epochs,
}

impl Unit {
    /// `length` of this unit in steps.
    pub(super) fn in_steps(self, length: u64, steps_per_epoch: u64) -> u64 {
        match self {
            Unit::Steps => length,
            Unit::Epochs => length.saturating_mul(steps_per_epoch),
        }
    }

    pub(super) fn require_steps(self, name: &'static str) -> Result<()> {
        match self {
            Unit::Steps => Ok(()),
            Unit::Epochs => Err(Error::ScheduleUnit { name }),
        }
    }
}
