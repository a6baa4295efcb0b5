//! The exponential moving average of parameters.

use serde::{Deserialize, Serialize};

use super::setting::unit_interval;
use crate::cpu::{vectorized, Vectorized};
use crate::error::Result;

/// How parameters are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ema {
    pub decay: f64,
    /// Whether the decay rises to its value, so that the first weights are soon forgotten.
    pub warmup: bool,
}

impl Ema {
    /// The decay in step `step`, from 1: with a warmup `min(decay, (1 + step) / (10 + step))`, the
    /// rule of TensorFlow's `ExponentialMovingAverage`.
    pub fn decay_at(&self, step: u64) -> f64 {
        let step = step as f64;
        match self.warmup {
            true => self.decay.min((1.0 + step) / (10.0 + step)),
            false => self.decay,
        }
    }

    pub fn validate(&self) -> Result<()> {
        unit_interval("ema_decay", self.decay)
    }
}

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
    fn a_warmup_rises_to_the_decay() {
        let ema = Ema { decay: 0.9, warmup: true };
        assert_eq!(ema.decay_at(1), 2.0 / 11.0);
        assert_eq!(ema.decay_at(40), 41.0 / 50.0);
        assert_eq!(ema.decay_at(80), 0.9);
        assert_eq!(ema.decay_at(u64::MAX), 0.9);
        assert_eq!(Ema { warmup: false, ..ema }.decay_at(1), 0.9);
        assert!(Ema { decay: 1.5, ..ema }.validate().is_err());
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
