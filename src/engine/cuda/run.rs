//! Selects the kernels of an operation.

use super::{batch_norm, cross_entropy};
use crate::engine::values::{Lookup, Outputs, Places};
use crate::error::Result;
use crate::kernels::cuda::Device;
use crate::program::Op;

/// Runs an operation that has kernels; `None` for all others.
pub fn run(
    op: &Op,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
    device: &dyn Device,
) -> Result<Option<Outputs>> {
    Ok(Some(match op {
        Op::BatchNorm(op) => batch_norm::forward(op, lookup, places, device)?,
        Op::BatchNormApply(op) => batch_norm::apply(op, lookup, places, device)?,
        Op::BatchNormBackward(op) => batch_norm::backward(op, lookup, places, device)?,
        Op::CrossEntropy(op) => cross_entropy::run(op, lookup, places, device)?,
        _ => return Ok(None),
    }))
}
