//! Evaluation-mode forward: the normalization with running statistics.

use super::normalize::{normalize, Affine};
use super::Shape;
use crate::error::Result;
use crate::kernels::cpu::{Element, Parallel};

/// `y = relu(batch_norm(x) + residual)` with running statistics; ReLU and residual where asked for.
pub struct Inference<'a, T> {
    pub shape: Shape,
    pub eps: f64,
    pub relu: bool,
    /// `[rows, channels]`
    pub x: &'a [T],
    /// `[channels]`; one if absent.
    pub weight: Option<&'a [f32]>,
    /// `[channels]`; zero if absent.
    pub bias: Option<&'a [f32]>,
    /// `[channels]`
    pub running_mean: &'a [f32],
    /// `[channels]`
    pub running_var: &'a [f32],
    /// `[rows, channels]`, added before the ReLU.
    pub residual: Option<&'a [T]>,
    /// `[rows, channels]`
    pub y: &'a mut [T],
}

impl<T: Element> Inference<'_, T> {
    /// # Errors
    /// The shape is empty or a slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        self.check()?;
        let affine = Affine::new(self.shape.channels, self.weight, self.bias, |c| {
            let variance = self.running_var[c] as f64;
            (self.running_mean[c] as f64, 1.0 / (variance + self.eps).sqrt())
        });
        normalize(parallel, self.shape, &affine, self.relu, self.x, self.residual, self.y)
    }

    fn check(&self) -> Result<()> {
        let shape = self.shape;
        shape.check()?;
        shape.check_matrix("x", self.x)?;
        shape.check_matrix("y", self.y)?;
        self.residual.map_or(Ok(()), |residual| shape.check_matrix("residual", residual))?;
        self.weight.map_or(Ok(()), |weight| shape.check_channels("weight", weight))?;
        self.bias.map_or(Ok(()), |bias| shape.check_channels("bias", bias))?;
        shape.check_channels("running_mean", self.running_mean)?;
        shape.check_channels("running_var", self.running_var)
    }
}
