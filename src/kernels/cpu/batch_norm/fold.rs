//! A batch norm whose statistics are known, as one scale and one shift for each channel.

/// `batch_norm(x) = scale * x + shift`; all slices are `[channels]`, the weight is one and the bias
/// zero if absent.
///
/// Computed in f64. What is lost against taking the mean off first is a rounding of the shift:
/// where that matters, `x` itself has been rounded as much.
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
