//! The rate falls by a constant factor at regular intervals (`StepLR`).

use serde::{Deserialize, Serialize};

use super::Unit;
use crate::error::{Error, Result};
use crate::optim::setting::above_zero;

/// `factor = gamma ^ floor(step / step_size)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepDecay {
    pub step_size: u64,
    #[serde(default)]
    pub unit: Unit,
    #[serde(default = "default_gamma")]
    pub gamma: f64,
}

fn default_gamma() -> f64 {
    0.1
}

impl StepDecay {
    pub fn factor(&self, step: u64) -> f64 {
        self.gamma.powf((step / self.step_size.max(1)) as f64)
    }

    pub fn validate(&self) -> Result<()> {
        self.unit.require_steps("step_size")?;
        if self.step_size == 0 {
            let value = self.step_size as f64;
            return Err(Error::Setting { name: "step_size", expected: "at least 1", value });
        }
        above_zero("gamma", self.gamma)
    }

    pub(super) fn in_steps(&self, steps_per_epoch: u64) -> StepDecay {
        let step_size = self.unit.in_steps(self.step_size, steps_per_epoch);
        StepDecay { step_size, unit: Unit::Steps, gamma: self.gamma }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by torch 2.11: `StepLR(optimizer, 3, 0.2)`.
    const TORCH: [f64; 8] = [1.0, 1.0, 1.0, 0.2, 0.2, 0.2, 0.04, 0.04];

    #[test]
    fn equals_torch() {
        let decay = StepDecay { step_size: 3, unit: Unit::Steps, gamma: 0.2 };
        for (step, torch) in TORCH.iter().enumerate() {
            assert!((decay.factor(step as u64) - torch).abs() < 1e-12);
        }
    }

    #[test]
    fn epochs_become_steps() {
        let decay = StepDecay { step_size: 3, unit: Unit::Epochs, gamma: 0.2 };
        assert!(decay.validate().unwrap_err().to_string().contains("in_steps"));
        let decay = decay.in_steps(10);
        decay.validate().unwrap();
        assert_eq!(decay.factor(29), 1.0);
        assert_eq!(decay.factor(30), 0.2);
    }

    #[test]
    fn refuses_an_empty_interval() {
        let decay = StepDecay { step_size: 0, unit: Unit::Steps, gamma: 0.1 };
        let message = decay.validate().unwrap_err().to_string();
        assert_eq!(message, "step_size must be at least 1, got 0");
        assert!(decay.factor(5).is_finite());
    }
}
