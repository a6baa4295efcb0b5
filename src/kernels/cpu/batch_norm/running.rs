//! Running statistics, updated as `torch.nn.BatchNorm2d` does it.

use super::Shape;
use crate::error::{Error, Result};

/// Moves the running statistics towards those that a forward pass saved: `running = (1 - momentum)
/// * running + momentum * batch`, with the unbiased variance of the batch.
///
/// # Errors
/// One row only (its unbiased variance is undefined), or a slice is not `[channels]`.
pub fn update_running(
    shape: Shape,
    eps: f64,
    momentum: f64,
    save_mean: &[f32],
    save_invstd: &[f32],
    running_mean: &mut [f32],
    running_var: &mut [f32],
) -> Result<()> {
    shape.check()?;
    shape.check_channels("save_mean", save_mean)?;
    shape.check_channels("save_invstd", save_invstd)?;
    shape.check_channels("running_mean", running_mean)?;
    shape.check_channels("running_var", running_var)?;
    if shape.rows < 2 {
        return Err(Error::SingleValue { rows: shape.rows });
    }
    let unbiased = shape.rows as f64 / (shape.rows - 1) as f64;
    let blend =
        |running: f32, batch: f64| (running as f64 + momentum * (batch - running as f64)) as f32;
    for c in 0..shape.channels {
        let invstd = save_invstd[c] as f64;
        let variance = 1.0 / (invstd * invstd) - eps;
        // Rounding can take a constant channel below zero; a NaN stays one.
        let variance = if variance < 0.0 { 0.0 } else { variance };
        running_mean[c] = blend(running_mean[c], save_mean[c] as f64);
        running_var[c] = blend(running_var[c], variance * unbiased);
    }
    Ok(())
}
