//! The rate stays as it is.

use serde::{Deserialize, Serialize};

/// `factor = 1`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {}

impl Constant {
    pub fn factor(&self) -> f64 {
        1.0
    }
}
