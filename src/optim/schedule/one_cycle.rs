//! Up to the base rate, then down to almost nothing (`OneCycleLR`; Smith and Topin,
//! arXiv 1708.07120).

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::optim::setting::{above_zero, unit_interval};

/// How the rate goes from one level to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anneal {
    #[default]
    Cos,
    Linear,
}

impl Anneal {
    fn between(self, from: f64, to: f64, progress: f64) -> f64 {
        match self {
            Anneal::Cos => to + (from - to) / 2.0 * (1.0 + (PI * progress).cos()),
            Anneal::Linear => from + (to - from) * progress,
        }
    }
}

/// From `1 / div_factor` to 1, reached after the share `pct_start` of all steps, then down to
/// `1 / (div_factor * final_div_factor)` at the last step. The base rate is torch's `max_lr`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OneCycle {
    pub pct_start: f64,
    pub div_factor: f64,
    pub final_div_factor: f64,
    pub anneal_strategy: Anneal,
}

impl Default for OneCycle {
    fn default() -> Self {
        OneCycle {
            pct_start: 0.3,
            div_factor: 25.0,
            final_div_factor: 1e4,
            anneal_strategy: Anneal::Cos,
        }
    }
}

impl OneCycle {
    /// A training of one step runs at the full rate; past the end the rate stays at its minimum.
    pub fn factor(&self, step: u64, total_steps: u64) -> f64 {
        if total_steps <= 1 {
            return 1.0;
        }
        let initial = 1.0 / self.div_factor;
        let peak = self.pct_start * total_steps as f64 - 1.0;
        let last = (total_steps - 1) as f64;
        let step = (step as f64).min(last);
        if step <= peak {
            let progress = if peak > 0.0 { step / peak } else { 1.0 };
            self.anneal_strategy.between(initial, 1.0, progress)
        } else {
            let progress = (step - peak) / (last - peak);
            self.anneal_strategy.between(1.0, initial / self.final_div_factor, progress)
        }
    }

    pub fn validate(&self) -> Result<()> {
        unit_interval("pct_start", self.pct_start)?;
        above_zero("div_factor", self.div_factor)?;
        above_zero("final_div_factor", self.final_div_factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equals(cycle: &OneCycle, torch: &[f64]) {
        for (step, expected) in torch.iter().enumerate() {
            let ours = cycle.factor(step as u64, torch.len() as u64);
            assert!((ours - expected).abs() < 1e-12, "step {step}: {ours} {expected}");
        }
    }

    /// The lists below were printed by torch 2.11.
    #[test]
    fn equals_torch() {
        let default = OneCycle::default();
        equals(
            &default,
            &[
                0.04,
                0.52,
                1.0,
                0.9504846320134738,
                0.8117456539497631,
                0.6112620219362893,
                0.3887419780637107,
                0.188258346050237,
                0.049519367986526286,
                4e-6,
            ],
        );
        // The peak lies before the first step.
        equals(&default, &[0.9944154354509118, 0.462637102666975, 4e-6]);
        let linear = OneCycle {
            pct_start: 0.5,
            div_factor: 10.0,
            final_div_factor: 100.0,
            anneal_strategy: Anneal::Linear,
        };
        equals(
            &linear,
            &[0.1, 0.46, 0.82, 0.8572857142857143, 0.5718571428571428, 0.2864285714285715, 1e-3],
        );
    }

    #[test]
    fn extremes_stay_in_range() {
        for pct_start in [0.0, 0.1, 0.5, 1.0] {
            let cycle = OneCycle { pct_start, ..OneCycle::default() };
            cycle.validate().unwrap();
            for total in 0..12 {
                for step in 0..15 {
                    let factor = cycle.factor(step, total);
                    assert!((0.0..=1.0 + 1e-12).contains(&factor), "{pct_start} {step}/{total}");
                }
            }
        }
        assert!(OneCycle { pct_start: 1.5, ..OneCycle::default() }.validate().is_err());
        assert!(OneCycle { div_factor: 0.0, ..OneCycle::default() }.validate().is_err());
    }
}
