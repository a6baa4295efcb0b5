//! Running statistics: their update, and a batch norm with them as one scale and one shift.

use super::Shape;
use crate::error::{Error, Result};

/// Moves the running statistics towards those that a forward pass saved, as torch does: `running =
/// (1 - momentum) * running + momentum * batch`, with the unbiased variance of the batch.
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

/// `batch_norm(x) = scale * x + shift`; all slices are `[channels]`, the weight is one and the bias
/// zero if absent.
///
/// Computed in f64. Compared with subtracting the mean first, the rounding of the shift is the only
/// loss; where it matters, `x` itself has been rounded as much.
pub fn fold(
    mean: &[f32],
    invstd: &[f32],
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    scale: &mut [f32],
    shift: &mut [f32],
) {
    for channel in 0..mean.len() {
        let weight = weight.map_or(1.0, |weight| f64::from(weight[channel]));
        let bias = bias.map_or(0.0, |bias| f64::from(bias[channel]));
        scale[channel] = (weight * f64::from(invstd[channel])) as f32;
        shift[channel] = (bias - f64::from(mean[channel]) * f64::from(scale[channel])) as f32;
    }
}

/// `1 / sqrt(var + eps)` for each channel.
pub fn invstd(var: &[f32], eps: f64) -> Vec<f32> {
    var.iter().map(|var| (1.0 / (f64::from(*var) + eps).sqrt()) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_channel() {
        let (mut scale, mut shift) = ([0.0; 2], [0.0; 2]);
        let invstd = invstd(&[4.0, 0.0], 0.25 * 0.25);
        assert!((invstd[0] - 1.0 / 4.0625f32.sqrt()).abs() < 1e-7 && invstd[1] == 4.0);
        fold(&[1.0, 100.0], &[0.5, 4.0], Some(&[3.0, 1.0]), None, &mut scale, &mut shift);
        assert_eq!((scale, shift), ([1.5, 4.0], [-1.5, -400.0]));
    }
}
