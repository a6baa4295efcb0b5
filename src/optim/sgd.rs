//! Stochastic gradient descent, the mathematics of `torch.optim.SGD`.

use serde::{Deserialize, Serialize};

use super::setting::{at_least_zero, finite};
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

    /// One update of `param` with the rate `lr`; slices of equal length.
    ///
    /// On the `first` step the buffer becomes the gradient, whatever it held.
    /// Without momentum the buffer is not used and may be empty.
    pub fn step(
        &self,
        lr: f64,
        first: bool,
        param: &mut [f32],
        grad: &[f32],
        momentum_buffer: &mut [f32],
    ) {
        if self.momentum == 0.0 {
            self.plain(lr as f32, param, grad);
        } else {
            // A constant inside the loop, so that each of the four loops is free of branches.
            match (first, self.nesterov) {
                (false, false) => self.heavy::<false, false>(lr, param, grad, momentum_buffer),
                (false, true) => self.heavy::<false, true>(lr, param, grad, momentum_buffer),
                (true, false) => self.heavy::<true, false>(lr, param, grad, momentum_buffer),
                (true, true) => self.heavy::<true, true>(lr, param, grad, momentum_buffer),
            }
        }
    }

    fn plain(&self, lr: f32, param: &mut [f32], grad: &[f32]) {
        let (sign, decay) = (self.sign(), self.weight_decay as f32);
        for (p, g) in param.iter_mut().zip(grad) {
            *p -= lr * (sign * g + decay * *p);
        }
    }

    fn heavy<const FIRST: bool, const NESTEROV: bool>(
        &self,
        lr: f64,
        param: &mut [f32],
        grad: &[f32],
        buffer: &mut [f32],
    ) {
        let (sign, decay, lr) = (self.sign(), self.weight_decay as f32, lr as f32);
        let (momentum, damp) = (self.momentum as f32, (1.0 - self.dampening) as f32);
        for ((p, g), b) in param.iter_mut().zip(grad).zip(buffer) {
            let g = sign * g + decay * *p;
            *b = if FIRST { g } else { momentum * *b + damp * g };
            *p -= lr * if NESTEROV { g + momentum * *b } else { *b };
        }
    }

    fn sign(&self) -> f32 {
        if self.maximize {
            -1.0
        } else {
            1.0
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
            sgd.step(lr, step == 0, &mut param, &grad, &mut buffer);
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
