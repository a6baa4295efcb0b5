//! Inputs of a forward and a backward pass, and the textbook formulas in f64.

use super::super::{Backward, Forward, Mask, Shape};
use crate::activation::Activation;
use crate::cpu::testing::{noise, Guarded};
use crate::cpu::{Number, Parallel};

pub(super) const EPS: f64 = 1e-5;
pub(super) const ACTIVE: [Activation; 5] = [
    Activation::RELU,
    Activation { slope: 0.1, max: f32::INFINITY },
    // As ReLU6, with a maximum that these numbers reach, in bf16 by rounding too.
    Activation { slope: 0.0, max: 0.5 },
    Activation { slope: 1.5, max: f32::INFINITY },
    Activation { slope: 0.25, max: 0.75 },
];

/// Inputs of a forward and a backward pass.
pub(super) struct Case<T> {
    pub shape: Shape,
    pub activation: Activation,
    pub x: Vec<T>,
    pub grad_y: Vec<T>,
    pub weight: Option<Vec<f32>>,
    pub bias: Option<Vec<f32>>,
    pub residual: Option<Vec<T>>,
}

/// The outputs of the kernels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outputs<T> {
    pub y: Vec<T>,
    pub save_mean: Vec<f32>,
    pub save_invstd: Vec<f32>,
    pub grad_x: Vec<T>,
    pub grad_residual: Vec<T>,
    pub grad_weight: Vec<f32>,
    pub grad_bias: Vec<f32>,
}

impl<T: Number> Case<T> {
    /// Channel `c` has a mean of about `center * sin(c)`.
    pub(super) fn new(
        seed: u64,
        rows: usize,
        channels: usize,
        center: f32,
        flags: [bool; 3],
    ) -> Self {
        let [active, affine, residual] = flags;
        let len = rows * channels;
        let matrix = |k: u64| noise(seed * 8 + k, len).map(T::from_f32).collect::<Vec<T>>();
        let x = noise(seed * 8, len)
            .enumerate()
            .map(|(i, v)| T::from_f32(v + center * ((i % channels) as f32 + 1.0).sin()));
        Case {
            shape: Shape { rows, channels },
            activation: match active {
                true => ACTIVE[seed as usize % ACTIVE.len()],
                false => Activation::IDENTITY,
            },
            x: x.collect(),
            grad_y: matrix(1),
            weight: affine.then(|| noise(seed * 8 + 2, channels).map(|v| 1.0 + v / 2.0).collect()),
            bias: affine.then(|| noise(seed * 8 + 3, channels).collect()),
            residual: residual.then(|| matrix(4)),
        }
    }

    pub(super) fn run(&self, parallel: &dyn Parallel) -> Outputs<T> {
        let Shape { rows, channels } = self.shape;
        let matrix = || Guarded::<T>::output(rows * channels);
        let vector = || Guarded::<f32>::output(channels);
        let (mut y, mut save_mean, mut save_invstd) = (matrix(), vector(), vector());
        let forward = Forward {
            shape: self.shape,
            eps: EPS,
            activation: self.activation,
            x: &self.x,
            moments: None,
            weight: self.weight.as_deref(),
            bias: self.bias.as_deref(),
            residual: self.residual.as_deref(),
            y: y.get_mut(),
            save_mean: save_mean.get_mut(),
            save_invstd: save_invstd.get_mut(),
        };
        forward.run(parallel).unwrap();
        let (y, save_mean, save_invstd) =
            (y.checked().to_vec(), save_mean.checked().to_vec(), save_invstd.checked().to_vec());

        let (mut grad_x, mut grad_residual) = (matrix(), matrix());
        let (mut grad_weight, mut grad_bias) = (vector(), vector());
        let backward = Backward {
            shape: self.shape,
            grad_y: &self.grad_y,
            activation: self.activation,
            mask: Mask::Output(&y),
            sums: None,
            x: &self.x,
            weight: self.weight.as_deref(),
            save_mean: &save_mean,
            save_invstd: &save_invstd,
            grad_x: grad_x.get_mut(),
            grad_residual: self.residual.is_some().then_some(grad_residual.get_mut()),
            grad_weight: grad_weight.get_mut(),
            grad_bias: grad_bias.get_mut(),
        };
        backward.run(parallel).unwrap();
        let grad_x = grad_x.checked().to_vec();
        // Empty where it is not wanted.
        let grad_residual = self.residual.as_ref().map(|_| grad_residual.checked().to_vec());
        let grad_residual = grad_residual.unwrap_or_default();
        let (grad_weight, grad_bias) =
            (grad_weight.checked().to_vec(), grad_bias.checked().to_vec());
        Outputs { y, save_mean, save_invstd, grad_x, grad_residual, grad_weight, grad_bias }
    }

    /// Compares with the formulas. `unit` is the rounding of `T`.
    pub(super) fn check(&self, outputs: &Outputs<T>, unit: f64) {
        for c in 0..self.shape.channels {
            self.check_channel(c, outputs, unit);
        }
    }

    fn column(&self, matrix: &[T], c: usize) -> Vec<f64> {
        let column = matrix.iter().skip(c).step_by(self.shape.channels);
        column.map(|v| v.to_f32() as f64).collect()
    }

    fn check_channel(&self, c: usize, outputs: &Outputs<T>, unit: f64) {
        let n = self.shape.rows as f64;
        let x = self.column(&self.x, c);
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        let invstd = 1.0 / (variance + EPS).sqrt();
        // The mean is used as f32.
        let slack = mean.abs() * 6e-8 * invstd;
        close(outputs.save_mean[c] as f64, mean, 1e-6 * (mean.abs() + variance.sqrt()));
        close(outputs.save_invstd[c] as f64, invstd, 1e-5 * invstd);

        let hat: Vec<f64> = x.iter().map(|x| (x - mean) * invstd).collect();
        self.check_forward(c, outputs, unit, &hat, slack);
        self.check_backward(c, outputs, unit, (&hat, invstd), slack);
    }

    fn check_forward(&self, c: usize, outputs: &Outputs<T>, unit: f64, hat: &[f64], slack: f64) {
        let weight = self.weight.as_ref().map_or(1.0, |weight| weight[c] as f64);
        let bias = self.bias.as_ref().map_or(0.0, |bias| bias[c] as f64);
        let residual = self.residual.as_ref();
        let residual = residual.map_or(vec![0.0; hat.len()], |r| self.column(r, c));
        let y = self.column(&outputs.y, c);
        for ((y, hat), residual) in y.iter().zip(hat).zip(residual) {
            let expected = hat * weight + bias + residual;
            let expected = match expected > 0.0 {
                true => expected.min(self.activation.max as f64),
                false => expected * self.activation.slope as f64,
            };
            let rounding = (1e-5 + 2.0 * slack * weight.abs().max(1.0)) * (1.0 + hat.abs());
            close(*y, expected, unit * expected.abs() + rounding);
        }
    }

    fn check_backward(
        &self,
        c: usize,
        outputs: &Outputs<T>,
        unit: f64,
        (hat, invstd): (&[f64], f64),
        slack: f64,
    ) {
        let n = self.shape.rows as f64;
        let weight = self.weight.as_ref().map_or(1.0, |weight| weight[c] as f64);
        // The mask is taken from the kernel's own output: a rounding may decide either way.
        let Activation { slope, max } = self.activation;
        let masked = |g: f64, y: f64| match y > 0.0 {
            true if y >= max as f64 => 0.0,
            true => g,
            false => T::from_f32(g as f32 * slope).to_f32() as f64,
        };
        let y = self.column(&outputs.y, c);
        let g = self.column(&self.grad_y, c);
        let g: Vec<f64> = g.iter().zip(&y).map(|(g, y)| masked(*g, *y)).collect();
        let grad_bias: f64 = g.iter().sum();
        let grad_weight: f64 = g.iter().zip(hat).map(|(g, hat)| g * hat).sum();
        let tolerance = 1e-5 * n.sqrt() + slack * n.sqrt() + 1e-6 * n;
        close(outputs.grad_bias[c] as f64, grad_bias, tolerance);
        close(outputs.grad_weight[c] as f64, grad_weight, tolerance + slack * grad_bias.abs());
        for ((got, g), hat) in self.column(&outputs.grad_x, c).iter().zip(&g).zip(hat) {
            let expected = weight * invstd * (g - grad_bias / n - hat * grad_weight / n);
            let size = weight.abs() * invstd * (1.0 + hat.abs());
            close(*got, expected, unit * expected.abs() + (1e-5 + 2.0 * slack) * size);
        }
        if self.residual.is_some() {
            assert_eq!(self.column(&outputs.grad_residual, c), g);
        }
    }
}

#[track_caller]
pub(super) fn close(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "got {got}, expected {expected} +- {tolerance}");
}
