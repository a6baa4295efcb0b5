//! Training-mode forward: statistics of the batch, then the normalization.

use super::affine::Affine;
use super::columns;
use super::normalize::normalize;
use super::statistics::moments;
use super::{Moments, Shape};
use crate::activation::Activation;
use crate::cpu::{Number, Parallel};
use crate::error::Result;

/// `y = act(batch_norm(x) + residual)` with the batch's own statistics; the residual where asked
/// for. Reads `x` twice, or once if its moments are known or it has few rows.
pub struct Forward<'a, T> {
    pub shape: Shape,
    pub eps: f64,
    pub activation: Activation,
    /// `[rows, channels]`
    pub x: &'a [T],
    /// The moments of the channels of `x`, if they have been computed already.
    pub moments: Option<Moments>,
    /// `[channels]`; one if absent.
    pub weight: Option<&'a [f32]>,
    /// `[channels]`; zero if absent.
    pub bias: Option<&'a [f32]>,
    /// `[rows, channels]`, added before the activation.
    pub residual: Option<&'a [T]>,
    /// `[rows, channels]`
    pub y: &'a mut [T],
    /// `[channels]`, for the backward pass and the running statistics.
    pub save_mean: &'a mut [f32],
    /// `[channels]`: `1 / sqrt(variance + eps)` with the biased variance.
    pub save_invstd: &'a mut [f32],
}

impl<T: Number> Forward<'_, T> {
    /// # Errors
    /// The shape is empty, a slice does not have its length, or the gradient of the activation
    /// cannot be computed from its output; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        self.check()?;
        if self.moments.is_none() && columns::fit::<T>(self.shape) {
            return columns::forward(self, parallel);
        }
        let moments = match self.moments {
            Some(moments) => moments,
            None => moments(parallel, self.shape, self.x)?,
        };
        moments.save(self.eps, self.save_mean, self.save_invstd);
        let affine = Affine::new(self.save_mean, self.save_invstd, self.weight, self.bias);
        let activation = self.activation.simd();
        normalize(parallel, self.shape, &affine, activation, self.x, self.residual, self.y)
    }

    fn check(&self) -> Result<()> {
        let shape = self.shape;
        shape.check()?;
        self.activation.check()?;
        shape.check_matrix("x", self.x)?;
        shape.check_matrix("y", self.y)?;
        self.residual.map_or(Ok(()), |residual| shape.check_matrix("residual", residual))?;
        self.weight.map_or(Ok(()), |weight| shape.check_channels("weight", weight))?;
        self.bias.map_or(Ok(()), |bias| shape.check_channels("bias", bias))?;
        shape.check_channels("save_mean", self.save_mean)?;
        shape.check_channels("save_invstd", self.save_invstd)?;
        self.moments.as_ref().map_or(Ok(()), |moments| {
            shape.check_channels("moments.mean", &moments.mean)?;
            shape.check_channels("moments.squares", &moments.squares)
        })
    }
}
