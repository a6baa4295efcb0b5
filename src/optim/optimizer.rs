//! The choice of optimizer and what all of them share.

use serde::{Deserialize, Serialize};

use super::step::Step;
use super::{AdamW, Sgd};
use crate::error::{Error, Result};

/// An optimizer with its settings; in JSON `{"name": "sgd", "lr": 0.1, "momentum": 0.9}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Optimizer {
    Sgd(Sgd),
    AdamW(AdamW),
}

impl Optimizer {
    /// The buffers kept for each parameter, in the order `step` takes them; each as long as the
    /// parameter and zero at the start.
    pub fn state_names(&self) -> &'static [&'static str] {
        match self {
            Optimizer::Sgd(sgd) if sgd.momentum == 0.0 => &[],
            Optimizer::Sgd(_) => &["momentum_buffer"],
            Optimizer::AdamW(_) => &["exp_avg", "exp_avg_sq"],
        }
    }

    /// The base learning rate, which a schedule multiplies.
    pub fn lr(&self) -> f64 {
        match self {
            Optimizer::Sgd(sgd) => sgd.lr,
            Optimizer::AdamW(adamw) => adamw.lr,
        }
    }

    /// Checks the settings against torch's ranges.
    pub fn validate(&self) -> Result<()> {
        match self {
            Optimizer::Sgd(sgd) => sgd.validate(),
            Optimizer::AdamW(adamw) => adamw.validate(),
        }
    }

    /// One update of one parameter, or of a part of it.
    ///
    /// # Errors
    /// `state` does not hold one buffer for each of `state_names`, or a length differs.
    pub fn step(
        &self,
        step: Step,
        param: &mut [f32],
        grad: &[f32],
        state: &mut [&mut [f32]],
    ) -> Result<()> {
        self.check_lengths(param.len(), grad, state)?;
        self.step_checked(step, param, grad, state);
        Ok(())
    }

    /// As `step`, after `check_lengths`.
    pub(super) fn step_checked(
        &self,
        step: Step,
        param: &mut [f32],
        grad: &[f32],
        state: &mut [&mut [f32]],
    ) {
        match (self, state) {
            (Optimizer::Sgd(sgd), []) => sgd.step(step, param, grad, &mut []),
            (Optimizer::Sgd(sgd), [buffer]) => sgd.step(step, param, grad, buffer),
            (Optimizer::AdamW(adamw), [exp_avg, exp_avg_sq]) => {
                adamw.step(step, param, grad, exp_avg, exp_avg_sq)
            }
            (_, state) => debug_assert!(false, "{} state buffers", state.len()),
        }
    }

    pub(super) fn check_lengths(
        &self,
        expected: usize,
        grad: &[f32],
        state: &[&mut [f32]],
    ) -> Result<()> {
        let names = self.state_names();
        if state.len() != names.len() {
            return Err(self.wrong_count(state.len()));
        }
        let lengths = names.iter().copied().zip(state.iter().map(|s| s.len()));
        for (name, got) in std::iter::once(("grad", grad.len())).chain(lengths) {
            if got != expected {
                return Err(Error::StateLength { name, expected, got });
            }
        }
        Ok(())
    }

    fn wrong_count(&self, got: usize) -> Error {
        let optimizer = match self {
            Optimizer::Sgd(_) => "sgd",
            Optimizer::AdamW(_) => "adamw",
        };
        Error::StateCount { optimizer, expected: self.state_names().len(), got }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four parameters, fifty steps of `grad = param * (k + 1) / 4 + sin(t * (k + 1))`.
    fn fifty_steps(json: &str) -> [f32; 4] {
        let optimizer: Optimizer = serde_json::from_str(json).unwrap();
        optimizer.validate().unwrap();
        let mut param = [0.5f32, -1.25, 2.0, 0.001];
        let mut state = vec![[0.0f32; 4]; optimizer.state_names().len()];
        for t in 0..50u64 {
            let mut grad = [0.0f32; 4];
            for (k, g) in grad.iter_mut().enumerate() {
                let k = k as f32 + 1.0;
                *g = param[k as usize - 1] * k / 4.0 + (t as f32 * k).sin();
            }
            let mut state: Vec<&mut [f32]> = state.iter_mut().map(|s| &mut s[..]).collect();
            let step = Step { number: t + 1, lr: optimizer.lr(), coefficient: 1.0 };
            optimizer.step(step, &mut param, &grad, &mut state).unwrap();
        }
        param
    }

    /// The right-hand sides were printed by torch 2.11 for the same parameters and gradients.
    #[test]
    fn ends_where_torch_ends() {
        let cases: [(&str, [f32; 4]); 6] = [
            (
                r#"{"name": "sgd", "lr": 0.1, "weight_decay": 0.01}"#,
                [0.186_698_38, -0.090_263_814, 0.003_883_700_6, -0.057_677_8],
            ),
            (
                r#"{"name": "sgd", "lr": 0.05, "momentum": 0.9, "dampening": 0.1,
                    "weight_decay": 5e-4}"#,
                [0.009_241_384, -0.085_054_494, -0.134_943_38, -0.016_349_114],
            ),
            (
                r#"{"name": "sgd", "lr": 0.02, "momentum": 0.9, "nesterov": true,
                    "weight_decay": 5e-4}"#,
                [-0.004_756_717, 0.063_146_83, 0.040_646_017, -0.015_590_982_5],
            ),
            (
                r#"{"name": "sgd", "lr": 0.01, "momentum": 0.5, "maximize": true}"#,
                [0.657_395_36, -2.014_791, 4.111_656_7, -0.005_110_664_3],
            ),
            (
                r#"{"name": "adamw", "lr": 0.01, "weight_decay": 0.1}"#,
                [0.365_169, -0.890_966_24, 1.477_316_7, 0.000_996_252_4],
            ),
            (
                r#"{"name": "adamw", "lr": 0.02, "beta1": 0.4, "beta2": 0.9, "eps": 1e-6,
                    "weight_decay": 0.01, "maximize": true}"#,
                [0.733_510_6, -1.991_416_2, 2.947_573_2, 0.034_376_867],
            ),
        ];
        for (json, expected) in cases {
            for (ours, torch) in fifty_steps(json).iter().zip(expected) {
                assert!(
                    (ours - torch).abs() < 1e-6 * torch.abs().max(1.0),
                    "{json} {ours} {torch}"
                );
            }
        }
    }

    #[test]
    fn json_round_trips_and_refuses_the_unknown() {
        let sgd = Optimizer::Sgd(Sgd { lr: 0.1, momentum: 0.9, ..Sgd::default() });
        let json = serde_json::to_string(&sgd).unwrap();
        assert!(json.starts_with(r#"{"name":"sgd","lr":0.1,"#), "{json}");
        assert_eq!(serde_json::from_str::<Optimizer>(&json).unwrap(), sgd);
        assert!(serde_json::from_str::<Optimizer>(r#"{"name": "sgd", "rate": 1}"#).is_err());
        assert!(serde_json::from_str::<Optimizer>(r#"{"name": "lion"}"#).is_err());
    }

    #[test]
    fn states_are_named_and_counted() {
        let sgd = Optimizer::Sgd(Sgd::default());
        let heavy = Optimizer::Sgd(Sgd { momentum: 0.9, ..Sgd::default() });
        let adamw = Optimizer::AdamW(AdamW::default());
        assert!(sgd.state_names().is_empty());
        assert_eq!(heavy.state_names(), ["momentum_buffer"]);
        assert_eq!(adamw.state_names(), ["exp_avg", "exp_avg_sq"]);

        let (mut param, grad) = ([0.0; 3], [1.0; 3]);
        let step = Step { number: 1, lr: 0.1, coefficient: 1.0 };
        let missing = heavy.step(step, &mut param, &grad, &mut []).unwrap_err();
        assert!(missing.to_string().contains("keeps 1 state buffers"), "{missing}");
        let short = heavy.step(step, &mut param, &grad, &mut [&mut [0.0; 2]]).unwrap_err();
        assert!(short.to_string().contains("momentum_buffer must have 3 elements"), "{short}");
        assert!(sgd.step(step, &mut param, &[1.0], &mut []).is_err());
        assert_eq!(param, [0.0; 3]);
    }
}
