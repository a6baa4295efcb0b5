//! The choice of schedule, and the warmup, which contains the schedule that follows it.

use serde::{Deserialize, Serialize};

use super::{Constant, Cosine, OneCycle, StepDecay, Unit};
use crate::error::{Error, Result};
use crate::optim::setting::unit_interval;

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

/// A linear rise before another schedule (torch's `LinearLR` in a `SequentialLR`).
///
/// The factor rises from `start_factor` to the first factor of `then` in `length` steps (or
/// epochs); `then` has the steps that are left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warmup {
    pub length: u64,
    #[serde(default)]
    pub unit: Unit,
    #[serde(default = "default_start_factor")]
    pub start_factor: f64,
    pub then: Box<Schedule>,
}

/// torch's default.
fn default_start_factor() -> f64 {
    1.0 / 3.0
}

impl Warmup {
    pub fn factor(&self, step: u64, total_steps: u64) -> f64 {
        let left = total_steps.saturating_sub(self.length);
        if step >= self.length {
            return self.then.factor(step - self.length, left);
        }
        let progress = step as f64 / self.length as f64;
        let rise = self.start_factor + (1.0 - self.start_factor) * progress;
        rise * self.then.factor(0, left)
    }

    pub fn validate(&self, total_steps: u64) -> Result<()> {
        self.unit.require_steps("warmup length")?;
        if self.length >= total_steps {
            return Err(Error::WarmupLength { steps: self.length, total_steps });
        }
        unit_interval("start_factor", self.start_factor)?;
        self.then.validate(total_steps - self.length)
    }

    pub(super) fn in_steps(&self, steps_per_epoch: u64) -> Warmup {
        Warmup {
            length: self.unit.in_steps(self.length, steps_per_epoch),
            unit: Unit::Steps,
            start_factor: self.start_factor,
            then: Box::new(self.then.in_steps(steps_per_epoch)),
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

    fn before(then: Schedule, length: u64) -> Warmup {
        Warmup { length, unit: Unit::Steps, start_factor: 0.25, then: Box::new(then) }
    }

    /// Printed by torch 2.11: `SequentialLR` of `LinearLR(start_factor=0.25, total_iters=4)` and
    /// `CosineAnnealingLR(T_max=6)`.
    const TORCH: [f64; 10] = [
        0.25,
        0.4375,
        0.625,
        0.8125,
        1.0,
        0.9330127018922194,
        0.75,
        0.5,
        0.25,
        0.06698729810778065,
    ];

    #[test]
    fn a_warmup_equals_torch() {
        let warmup = before(Schedule::Cosine(Cosine::default()), 4);
        warmup.validate(10).unwrap();
        for (step, torch) in TORCH.iter().enumerate() {
            assert!((warmup.factor(step as u64, 10) - torch).abs() < 1e-12);
        }
    }

    #[test]
    fn a_warmup_rises_to_where_the_next_begins() {
        let cycle = OneCycle::default();
        let warmup = before(Schedule::OneCycle(cycle.clone()), 5);
        assert_eq!(warmup.factor(5, 25), cycle.factor(0, 20));
        assert!(warmup.factor(4, 25) < warmup.factor(5, 25));
    }

    #[test]
    fn a_warmup_must_leave_steps_to_train() {
        let warmup = before(Schedule::Cosine(Cosine::default()), 4);
        for total in [0, 1, 4] {
            assert!(warmup.validate(total).is_err());
            assert!(warmup.factor(9, total).is_finite());
        }
        assert!(warmup.validate(5).is_ok());
        let message = warmup.validate(4).unwrap_err().to_string();
        assert!(message.contains("shorter than the 4 steps of the training, got 4"), "{message}");
    }

    #[test]
    fn no_warmup_is_the_other_schedule() {
        let warmup = before(Schedule::Cosine(Cosine::default()), 0);
        for step in 0..7 {
            assert_eq!(warmup.factor(step, 7), Cosine::default().factor(step, 7));
        }
    }

    #[test]
    fn epochs_become_steps_within_a_warmup() {
        let decay = StepDecay { step_size: 2, unit: Unit::Epochs, gamma: 0.1 };
        let mut warmup = before(Schedule::Step(decay), 1);
        warmup.unit = Unit::Epochs;
        let warmup = warmup.in_steps(10);
        warmup.validate(100).unwrap();
        assert_eq!(warmup.factor(10, 100), 1.0);
        assert_eq!(warmup.factor(29, 100), 1.0);
        assert_eq!(warmup.factor(30, 100), 0.1);
    }
}
