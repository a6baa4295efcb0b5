//! Adam with decoupled weight decay, the mathematics of `torch.optim.AdamW`
//! (Loshchilov and Hutter, arXiv 1711.05101).

use serde::{Deserialize, Serialize};

use super::setting::{at_least_zero, below_one};
use super::step::Step;
use crate::cpu::{vectorized, Vectorized};
use crate::error::Result;

/// The settings of AdamW, with torch's names and defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
    pub maximize: bool,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2, maximize: false }
    }
}

impl AdamW {
    /// Checks torch's ranges.
    pub fn validate(&self) -> Result<()> {
        at_least_zero("lr", self.lr)?;
        below_one("beta1", self.beta1)?;
        below_one("beta2", self.beta2)?;
        at_least_zero("eps", self.eps)?;
        at_least_zero("weight_decay", self.weight_decay)
    }

    /// One update of `param`. All slices have the same length; the averages are zero before the
    /// first update.
    ///
    /// Coefficients are computed in f64 and rounded once; the rest is f32, in torch's order.
    pub fn step(
        &self,
        step: Step,
        param: &mut [f32],
        grad: &[f32],
        exp_avg: &mut [f32],
        exp_avg_sq: &mut [f32],
    ) {
        let Step { lr, coefficient, .. } = step;
        let number = step.number as f64;
        let rest1 = (1.0 - self.beta1) as f32;
        let settings = Settings {
            scale: if self.maximize { -coefficient } else { coefficient },
            keep: (1.0 - lr * self.weight_decay) as f32,
            beta1: self.beta1 as f32,
            rest1,
            beta2: self.beta2 as f32,
            rest2: (1.0 - self.beta2) as f32,
            eps: self.eps as f32,
            step_size: (lr / (1.0 - self.beta1.powf(number))) as f32,
            correction: (1.0 - self.beta2.powf(number)).sqrt() as f32,
        };
        // torch's lerp starts from the nearer end; the choice is the same for every element.
        if rest1 < 0.5 {
            vectorized(Loop::<true> { settings, param, grad, exp_avg, exp_avg_sq });
        } else {
            vectorized(Loop::<false> { settings, param, grad, exp_avg, exp_avg_sq });
        }
    }
}

/// The settings in the form that the loop uses.
#[derive(Clone, Copy)]
struct Settings {
    /// The factor for the gradient: the clip coefficient, negative to maximize.
    scale: f32,
    keep: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    eps: f32,
    step_size: f32,
    correction: f32,
}

struct Loop<'a, const NEAR_AVERAGE: bool> {
    settings: Settings,
    param: &'a mut [f32],
    grad: &'a [f32],
    exp_avg: &'a mut [f32],
    exp_avg_sq: &'a mut [f32],
}

impl<const NEAR_AVERAGE: bool> Vectorized for Loop<'_, NEAR_AVERAGE> {
    #[inline(always)]
    fn run(self) {
        let Settings { scale, keep, beta1, rest1, beta2, rest2, eps, step_size, correction } =
            self.settings;
        let state = self.exp_avg.iter_mut().zip(self.exp_avg_sq);
        for ((p, g), (m, v)) in self.param.iter_mut().zip(self.grad).zip(state) {
            let g = scale * g;
            *m = if NEAR_AVERAGE { *m + rest1 * (g - *m) } else { g - (g - *m) * beta1 };
            *v = beta2 * *v + rest2 * g * g;
            let denom = v.sqrt() / correction + eps;
            *p = keep * *p - step_size * *m / denom;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documented algorithm in f64, one number.
    fn reference(a: &AdamW, lr: f64, t: i32, p: &mut f64, g: f64, m: &mut f64, v: &mut f64) {
        let g = if a.maximize { -g } else { g };
        *p -= lr * a.weight_decay * *p;
        *m = a.beta1 * *m + (1.0 - a.beta1) * g;
        *v = a.beta2 * *v + (1.0 - a.beta2) * g * g;
        let m_hat = *m / (1.0 - a.beta1.powi(t));
        let v_hat = *v / (1.0 - a.beta2.powi(t));
        *p -= lr * m_hat / (v_hat.sqrt() + a.eps);
    }

    fn agrees(adamw: AdamW) {
        let n = 37;
        let start = |i: usize| (i as f64 * 0.7).sin();
        let mut exact: Vec<[f64; 3]> = (0..n).map(|i| [start(i), 0.0, 0.0]).collect();
        let mut param: Vec<f32> = (0..n).map(|i| start(i) as f32).collect();
        let (mut exp_avg, mut exp_avg_sq) = (vec![0.0; n], vec![0.0; n]);
        for step in 1..=50 {
            let lr = adamw.lr / step as f64;
            let grad: Vec<f32> = (0..n).map(|i| ((i + 3 * step) as f32).cos()).collect();
            let now = Step { number: step as u64, lr, coefficient: 1.0 };
            adamw.step(now, &mut param, &grad, &mut exp_avg, &mut exp_avg_sq);
            for ([p, m, v], g) in exact.iter_mut().zip(&grad) {
                reference(&adamw, lr, step as i32, p, *g as f64, m, v);
            }
        }
        for (p, [q, ..]) in param.iter().zip(&exact) {
            assert!((*p as f64 - q).abs() < 1e-6 * (1.0 + q.abs()), "{p} {q}");
        }
    }

    #[test]
    fn follows_the_documented_algorithm() {
        agrees(AdamW::default());
        agrees(AdamW { lr: 0.02, beta1: 0.4, beta2: 0.9, eps: 1e-6, ..AdamW::default() });
        agrees(AdamW { lr: 0.01, weight_decay: 0.3, maximize: true, ..AdamW::default() });
        agrees(AdamW { lr: 0.01, beta1: 0.0, beta2: 0.0, ..AdamW::default() });
    }

    #[test]
    fn refuses_what_torch_refuses() {
        assert!(AdamW { beta1: 1.0, ..AdamW::default() }.validate().is_err());
        assert!(AdamW { beta2: -0.1, ..AdamW::default() }.validate().is_err());
        assert!(AdamW { eps: -1e-8, ..AdamW::default() }.validate().is_err());
        let message = AdamW { weight_decay: f64::INFINITY, ..AdamW::default() }.validate();
        let message = message.unwrap_err().to_string();
        assert_eq!(message, "weight_decay must be a finite number >= 0, got inf");
        assert!(AdamW::default().validate().is_ok());
    }
}
