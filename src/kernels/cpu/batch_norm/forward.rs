//! Training-mode forward: statistics of the batch, then the normalization.

use super::normalize::{normalize, Affine};
use super::statistics::moments;
use super::Shape;
use crate::error::Result;
use crate::kernels::cpu::{Element, Parallel};

/// `y = relu(batch_norm(x) + residual)` with the batch's own statistics; ReLU and residual where
/// asked for. Reads `x` twice.
pub struct Forward<'a, T> {
    pub shape: Shape,
    pub eps: f64,
    pub relu: bool,
    /// `[rows, channels]`
    pub x: &'a [T],
    /// `[channels]`; one if absent.
    pub weight: Option<&'a [f32]>,
    /// `[channels]`; zero if absent.
    pub bias: Option<&'a [f32]>,
    /// `[rows, channels]`, added before the ReLU.
    pub residual: Option<&'a [T]>,
    /// `[rows, channels]`
    pub y: &'a mut [T],
    /// `[channels]`, for the backward pass and the running statistics.
    pub save_mean: &'a mut [f32],
    /// `[channels]`: `1 / sqrt(variance + eps)` with the biased variance.
    pub save_invstd: &'a mut [f32],
}

impl<T: Element> Forward<'_, T> {
    /// # Errors
    /// The shape is empty or a slice does not have its length; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        self.check()?;
        let moments = moments(parallel, self.shape, self.x)?;
        let statistics = |c: usize| {
            let variance = moments.squares[c] / moments.count;
            (moments.mean[c], 1.0 / (variance + self.eps).sqrt())
        };
        for c in 0..self.shape.channels {
            let (mean, invstd) = statistics(c);
            self.save_mean[c] = mean as f32;
            self.save_invstd[c] = invstd as f32;
        }
        let affine = Affine::new(self.shape.channels, self.weight, self.bias, statistics);
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
        shape.check_channels("save_mean", self.save_mean)?;
        shape.check_channels("save_invstd", self.save_invstd)
    }
}
