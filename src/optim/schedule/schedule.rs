//! The choice of schedule.

use serde::{Deserialize, Serialize};

use super::{Constant, Cosine, OneCycle, StepDecay, Warmup};
use crate::error::{Error, Result};

/// A schedule with its settings; in JSON `{"name": "cosine"}` or
/// `{"name": "warmup", "length": 5, "unit": "epochs", "then": {"name": "cosine"}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Schedule {
    Constant(Constant),
    Step(StepDecay),
    Cosine(Cosine),
    OneCycle(OneCycle),
    Warmup(Warmup),
}

impl Schedule {
    /// What the base rate is multiplied with in optimizer step `step` (from 0) of `total_steps`.
    pub fn factor(&self, step: u64, total_steps: u64) -> f64 {
        match self {
            Schedule::Constant(constant) => constant.factor(),
            Schedule::Step(decay) => decay.factor(step),
            Schedule::Cosine(cosine) => cosine.factor(step, total_steps),
            Schedule::OneCycle(cycle) => cycle.factor(step, total_steps),
            Schedule::Warmup(warmup) => warmup.factor(step, total_steps),
        }
    }

    /// The same schedule with every length in steps.
    pub fn in_steps(&self, steps_per_epoch: u64) -> Schedule {
        match self {
            Schedule::Step(decay) => Schedule::Step(decay.in_steps(steps_per_epoch)),
            Schedule::Warmup(warmup) => Schedule::Warmup(warmup.in_steps(steps_per_epoch)),
            other => other.clone(),
        }
    }

    /// Checks the settings against a training of `total_steps`.
    pub fn validate(&self, total_steps: u64) -> Result<()> {
        if total_steps == 0 {
            return Err(Error::NoSteps { total_steps });
        }
        match self {
            Schedule::Constant(_) => Ok(()),
            Schedule::Step(decay) => decay.validate(),
            Schedule::Cosine(cosine) => cosine.validate(),
            Schedule::OneCycle(cycle) => cycle.validate(),
            Schedule::Warmup(warmup) => warmup.validate(total_steps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> serde_json::Result<Schedule> {
        serde_json::from_str(json)
    }

    #[test]
    fn reads_every_name() {
        for json in [
            r#"{"name": "constant"}"#,
            r#"{"name": "step", "step_size": 30, "unit": "epochs"}"#,
            r#"{"name": "cosine", "eta_min_factor": 0.01}"#,
            r#"{"name": "one_cycle", "pct_start": 0.2, "anneal_strategy": "linear"}"#,
            r#"{"name": "warmup", "length": 5, "then": {"name": "cosine"}}"#,
        ] {
            let schedule = parse(json).unwrap().in_steps(7);
            schedule.validate(100).unwrap();
            let json = serde_json::to_string(&schedule).unwrap();
            assert_eq!(parse(&json).unwrap(), schedule);
            for step in 0..100 {
                assert!((0.0..=1.0).contains(&schedule.factor(step, 100)));
            }
        }
    }

    #[test]
    fn refuses_the_unknown() {
        assert!(parse(r#"{"name": "constant", "gamma": 1}"#).is_err());
        assert!(parse(r#"{"name": "cosine", "eta_min": 0}"#).is_err());
        assert!(parse(r#"{"name": "step"}"#).is_err());
        assert!(parse(r#"{"name": "warmup", "length": 5, "then": {"name": "x"}}"#).is_err());
    }

    #[test]
    fn needs_a_step() {
        let message = parse(r#"{"name": "constant"}"#).unwrap().validate(0).unwrap_err();
        assert!(message.to_string().contains("at least one step"));
        parse(r#"{"name": "one_cycle"}"#).unwrap().validate(1).unwrap();
    }
}
