//! Clipping of gradients by their total norm, as `torch.nn.utils.clip_grad_norm_` does it.

use crate::cpu::{vectorized, Vectorized};

/// Independent sums: enough of them that no addition waits for the previous one.
const SUMS: usize = 32;

/// The sum of squares, in f64 so that neither large gradients nor many of them lose precision.
pub fn squared_norm(grad: &[f32]) -> f64 {
    let mut sum = 0.0;
    vectorized(SquaredNorm { grad, sum: &mut sum });
    sum
}

struct SquaredNorm<'a> {
    grad: &'a [f32],
    sum: &'a mut f64,
}

impl Vectorized for SquaredNorm<'_> {
    #[inline(always)]
    fn run(self) {
        let mut sums = [0.0f64; SUMS];
        let chunks = self.grad.chunks_exact(SUMS);
        let rest: f64 = chunks.remainder().iter().map(|&g| g as f64 * g as f64).sum();
        for chunk in chunks {
            for (sum, &g) in sums.iter_mut().zip(chunk) {
                *sum += g as f64 * g as f64;
            }
        }
        *self.sum = sums.iter().sum::<f64>() + rest;
    }
}

/// The factor for every gradient that limits their total norm to `max_norm`.
///
/// `total_norm` is the root of the sum of all squared norms. NaN stays NaN.
pub fn coefficient(total_norm: f64, max_norm: f64) -> f32 {
    let coefficient = max_norm / (total_norm + 1e-6);
    if coefficient > 1.0 {
        1.0
    } else {
        coefficient as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norm_is_exact_for_any_length() {
        for n in [0, 1, 15, 16, 17, 1000] {
            let grad: Vec<f32> = (0..n).map(|i| (i as f32 * 0.3).sin() * 1e20).collect();
            let exact: f64 = grad.iter().map(|&g| (g as f64).powi(2)).sum();
            assert!((squared_norm(&grad) - exact).abs() <= 1e-12 * exact);
        }
    }

    #[test]
    fn coefficient_never_enlarges() {
        assert_eq!(coefficient(0.0, 1.0), 1.0);
        assert_eq!(coefficient(0.5, 1.0), 1.0);
        assert!((coefficient(4.0, 1.0) - 0.25).abs() < 1e-6);
        assert_eq!(coefficient(f64::INFINITY, 1.0), 0.0);
        assert!(coefficient(f64::NAN, 1.0).is_nan());
    }
}
