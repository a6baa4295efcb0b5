//! The exponential moving average of parameters.

use crate::cpu::{vectorized, Vectorized};

/// `average += (1 - decay) * (value - average)`, the rule of `torch.optim.swa_utils`.
pub fn update(decay: f64, average: &mut [f32], value: &[f32]) {
    vectorized(Loop { weight: (1.0 - decay) as f32, average, value });
}

struct Loop<'a> {
    weight: f32,
    average: &'a mut [f32],
    value: &'a [f32],
}

impl Vectorized for Loop<'_> {
    #[inline(always)]
    fn run(self) {
        for (a, v) in self.average.iter_mut().zip(self.value) {
            *a += self.weight * (v - *a);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_closed_form() {
        let (decay, n) = (0.9f64, 21);
        let mut average = vec![1.0f32; n];
        let value: Vec<f32> = (0..n).map(|i| i as f32).collect();
        for _ in 0..30 {
            update(decay, &mut average, &value);
        }
        for (a, v) in average.iter().zip(&value) {
            let exact = *v as f64 + (1.0 - *v as f64) * decay.powi(30);
            assert!((*a as f64 - exact).abs() < 1e-5, "{a} {exact}");
        }
    }

    #[test]
    fn decay_one_keeps_and_zero_follows() {
        let mut average = [3.0f32, 4.0];
        update(1.0, &mut average, &[0.0, 0.0]);
        assert_eq!(average, [3.0, 4.0]);
        update(0.0, &mut average, &[1.0, 2.0]);
        assert_eq!(average, [1.0, 2.0]);
    }
}
