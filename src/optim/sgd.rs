//! Stochastic gradient descent, the mathematics of `torch.optim.SGD`.

use serde::{Deserialize, Serialize};

use super::setting::{at_least_zero, finite};
use super::step::Step;
use crate::cpu::{vectorized, Vectorized};
use crate::error::{Error, Result};

/// The settings of SGD, with torch's names and defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    pub lr: f64,
    pub momentum: f64,
    pub dampening: f64,
    pub weight_decay: f64,
    pub nesterov: bool,
    pub maximize: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Sgd {
            lr: 1e-3,
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
            maximize: false,
        }
    }
}

impl Sgd {
    /// Checks torch's ranges.
    pub fn validate(&self) -> Result<()> {
        at_least_zero("lr", self.lr)?;
        at_least_zero("momentum", self.momentum)?;
        at_least_zero("weight_decay", self.weight_decay)?;
        finite("dampening", self.dampening)?;
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            let (momentum, dampening) = (self.momentum, self.dampening);
            return Err(Error::Nesterov { momentum, dampening });
        }
        Ok(())
    }

    /// One update of `param`. All slices have the same length.
    ///
    /// In the first update the buffer becomes the gradient, whatever it contained. Without momentum
    /// the buffer is not used and may be empty.
    pub fn step(&self, step: Step, param: &mut [f32], grad: &[f32], momentum_buffer: &mut [f32]) {
        let settings = Settings {
            lr: step.lr as f32,
            scale: if self.maximize { -step.coefficient } else { step.coefficient },
            decay: self.weight_decay as f32,
            momentum: self.momentum as f32,
            damp: (1.0 - self.dampening) as f32,
        };
        if self.momentum == 0.0 {
            return vectorized(Plain { settings, param, grad });
        }
        // Constants of the loop, so that none of the four loops has branches.
        let buffer = momentum_buffer;
        match (step.number == 1, self.nesterov) {
            (false, false) => vectorized(Heavy::<false, false> { settings, param, grad, buffer }),
            (false, true) => vectorized(Heavy::<false, true> { settings, param, grad, buffer }),
            (true, false) => vectorized(Heavy::<true, false> { settings, param, grad, buffer }),
            (true, true) => vectorized(Heavy::<true, true> { settings, param, grad, buffer }),
        }
    }
}

/// The settings in the form that the loops use.
#[derive(Clone, Copy)]
struct Settings {
    lr: f32,
    /// The factor for the gradient: the clip coefficient, negative to maximize.
    scale: f32,
    decay: f32,
    momentum: f32,
    damp: f32,
}

struct Plain<'a> {
    settings: Settings,
    param: &'a mut [f32],
    grad: &'a [f32],
}

impl Vectorized for Plain<'_> {
    #[inline(always)]
    fn run(self) {
        let Settings { lr, scale, decay, .. } = self.settings;
        for (p, g) in self.param.iter_mut().zip(self.grad) {
            *p -= lr * (scale * g + decay * *p);
        }
    }
}

/// With momentum.
struct Heavy<'a, const FIRST: bool, const NESTEROV: bool> {
    settings: Settings,
    param: &'a mut [f32],
    grad: &'a [f32],
    buffer: &'a mut [f32],
}

impl<const FIRST: bool, const NESTEROV: bool> Vectorized for Heavy<'_, FIRST, NESTEROV> {
    #[inline(always)]
    fn run(self) {
        let Settings { lr, scale, decay, momentum, damp } = self.settings;
        for ((p, g), b) in self.param.iter_mut().zip(self.grad).zip(self.buffer) {
            let g = scale * g + decay * *p;
            *b = if FIRST { g } else { momentum * *b + damp * g };
            *p -= lr * if NESTEROV { g + momentum * *b } else { *b };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documented algorithm in f64, one number.
    fn reference(sgd: &Sgd, lr: f64, first: bool, p: &mut f64, g: f64, b: &mut f64) {
        let mut g = if sgd.maximize { -g } else { g };
        g += sgd.weight_decay * *p;
        if sgd.momentum != 0.0 {
            *b = if first { g } else { sgd.momentum * *b + (1.0 - sgd.dampening) * g };
            g = if sgd.nesterov { g + sgd.momentum * *b } else { *b };
        }
        *p -= lr * g;
    }

    fn agrees(sgd: Sgd) {
        let n = 37;
        let start = |i: usize| (i as f64 * 0.7).sin();
        let mut exact: Vec<(f64, f64)> = (0..n).map(|i| (start(i), f64::NAN)).collect();
        let mut param: Vec<f32> = (0..n).map(|i| start(i) as f32).collect();
        let mut buffer = vec![f32::NAN; n];
        for step in 0..50 {
            let lr = sgd.lr / (1.0 + step as f64);
            let grad: Vec<f32> = (0..n).map(|i| ((i + 3 * step) as f32).cos()).collect();
            let number = step as u64 + 1;
            let now = Step { number, lr, coefficient: 1.0 };
            sgd.step(now, &mut param, &grad, &mut buffer);
            for ((p, b), g) in exact.iter_mut().zip(&grad) {
                reference(&sgd, lr, step == 0, p, *g as f64, b);
            }
        }
        for (p, (q, _)) in param.iter().zip(&exact) {
            assert!((*p as f64 - q).abs() < 1e-6 * (1.0 + q.abs()), "{p} {q}");
        }
    }

    #[test]
    fn follows_the_documented_algorithm() {
        let base = Sgd { lr: 0.1, ..Sgd::default() };
        agrees(base.clone());
        agrees(Sgd { weight_decay: 0.01, maximize: true, ..base.clone() });
        agrees(Sgd { momentum: 0.9, dampening: 0.2, weight_decay: 0.01, ..base.clone() });
        agrees(Sgd { momentum: 0.9, nesterov: true, weight_decay: 5e-4, ..base });
    }

    #[test]
    fn refuses_what_torch_refuses() {
        assert!(Sgd { lr: -1.0, ..Sgd::default() }.validate().is_err());
        assert!(Sgd { lr: f64::NAN, ..Sgd::default() }.validate().is_err());
        assert!(Sgd { momentum: -0.1, ..Sgd::default() }.validate().is_err());
        assert!(Sgd { nesterov: true, ..Sgd::default() }.validate().is_err());
        let damped = Sgd { nesterov: true, momentum: 0.9, dampening: 0.1, ..Sgd::default() };
        assert!(damped.validate().unwrap_err().to_string().contains("turn nesterov off"));
        assert!(Sgd { nesterov: true, momentum: 0.9, ..Sgd::default() }.validate().is_ok());
    }
}
