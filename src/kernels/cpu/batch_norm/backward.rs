//! Backward of the training-mode forward.

use super::gradient_sums::gradient_sums;
use super::input_gradient::{input_gradient, Linear};
use super::Shape;
use crate::error::Result;
use crate::kernels::cpu::{Element, Parallel};

/// The gradients of `y = relu(batch_norm(x) + residual)`. Reads its inputs twice.
pub struct Backward<'a, T> {
    pub shape: Shape,
    /// `[rows, channels]`
    pub grad_y: &'a [T],
    /// `[rows, channels]`: what the forward pass wrote if it ended in a ReLU, else `None`.
    pub y: Option<&'a [T]>,
    /// `[rows, channels]`
    pub x: &'a [T],
    /// `[channels]`; one if absent.
    pub weight: Option<&'a [f32]>,
    /// `[channels]`
    pub save_mean: &'a [f32],
    /// `[channels]`
    pub save_invstd: &'a [f32],
    /// `[rows, channels]`
    pub grad_x: &'a mut [T],
    /// `[rows, channels]`: `grad_y` where the ReLU let it through.
    pub grad_residual: Option<&'a mut [T]>,
    /// `[channels]`
    pub grad_weight: &'a mut [f32],
    /// `[channels]`
    pub grad_bias: &'a mut [f32],
}

impl<T: Element> Backward<'_, T> {
    /// # Errors
    /// The shape is empty or a slice does not have its length; nothing is written then.
    pub fn run(mut self, parallel: &dyn Parallel) -> Result<()> {
        self.check()?;
        let Backward { shape, grad_y, y, x, save_mean, .. } = self;
        let mut masked = self.grad_residual.take();
        let written = masked.as_deref_mut();
        let (sum, product) = gradient_sums(parallel, shape, grad_y, y, x, save_mean, written)?;
        for c in 0..shape.channels {
            self.grad_bias[c] = sum[c] as f32;
            self.grad_weight[c] = (product[c] * self.save_invstd[c] as f64) as f32;
        }

        let linear = self.linear(&sum, &product);
        // The masked gradient, where it has been written, saves reading `y` again.
        let (grad, y) = match masked {
            Some(masked) => (&*masked, None),
            None => (grad_y, y),
        };
        input_gradient(parallel, shape, &linear, grad, y, x, self.grad_x)
    }

    fn linear(&self, sum: &[f64], product: &[f64]) -> Linear {
        let (rows, channels) = (self.shape.rows as f64, self.shape.channels);
        let scale = |c: usize| {
            self.weight.map_or(1.0, |weight| weight[c] as f64) * self.save_invstd[c] as f64
        };
        let slope = |c: usize| {
            let invstd = self.save_invstd[c] as f64;
            -scale(c) * invstd * invstd * product[c] / rows
        };
        let each = |value: &dyn Fn(usize) -> f64| (0..channels).map(|c| value(c) as f32).collect();
        Linear {
            mean: self.save_mean.to_vec(),
            scale: each(&scale),
            slope: each(&slope),
            shift: each(&|c| -scale(c) * sum[c] / rows),
        }
    }

    fn check(&self) -> Result<()> {
        let shape = self.shape;
        shape.check()?;
        shape.check_matrix("grad_y", self.grad_y)?;
        self.y.map_or(Ok(()), |y| shape.check_matrix("y", y))?;
        shape.check_matrix("x", self.x)?;
        self.weight.map_or(Ok(()), |weight| shape.check_channels("weight", weight))?;
        shape.check_channels("save_mean", self.save_mean)?;
        shape.check_channels("save_invstd", self.save_invstd)?;
        shape.check_matrix("grad_x", self.grad_x)?;
        let residual = self.grad_residual.as_deref();
        residual.map_or(Ok(()), |grad| shape.check_matrix("grad_residual", grad))?;
        shape.check_channels("grad_weight", self.grad_weight)?;
        shape.check_channels("grad_bias", self.grad_bias)
    }
}
