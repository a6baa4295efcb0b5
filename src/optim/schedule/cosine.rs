//! Half a cosine wave down to a small rate (`CosineAnnealingLR`; Loshchilov and Hutter,
//! arXiv 1608.03983, without restarts).

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::optim::setting::unit_interval;

/// `factor = eta + (1 - eta) * (1 + cos(pi * step / total_steps)) / 2`, `eta = eta_min_factor`:
/// torch's `eta_min` over the base rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cosine {
    pub eta_min_factor: f64,
}

impl Cosine {
    /// Past the end the rate stays at its minimum.
    pub fn factor(&self, step: u64, total_steps: u64) -> f64 {
        let progress = step.min(total_steps) as f64 / total_steps.max(1) as f64;
        let wave = (1.0 + (PI * progress).cos()) / 2.0;
        self.eta_min_factor + (1.0 - self.eta_min_factor) * wave
    }

    pub fn validate(&self) -> Result<()> {
        unit_interval("eta_min_factor", self.eta_min_factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by torch 2.11: `CosineAnnealingLR(optimizer, T_max=10, eta_min=lr / 10)`.
    const TORCH: [f64; 10] = [
        1.0,
        0.9779754323328191,
        0.9140576474687263,
        0.8145033635316129,
        0.6890576474687263,
        0.55,
        0.4109423525312737,
        0.28549663646838713,
        0.1859423525312737,
        0.12202456766718092,
    ];

    #[test]
    fn equals_torch() {
        let cosine = Cosine { eta_min_factor: 0.1 };
        for (step, torch) in TORCH.iter().enumerate() {
            assert!((cosine.factor(step as u64, 10) - torch).abs() < 1e-12);
        }
    }

    #[test]
    fn short_and_overlong_trainings_stay_in_range() {
        let cosine = Cosine { eta_min_factor: 0.1 };
        assert_eq!(cosine.factor(0, 0), 1.0);
        assert_eq!(cosine.factor(0, 1), 1.0);
        assert!((cosine.factor(25, 10) - 0.1).abs() < 1e-12);
        assert!(Cosine { eta_min_factor: -0.1 }.validate().is_err());
    }
}
