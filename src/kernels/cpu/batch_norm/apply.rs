//! Batch norm with given statistics, for evaluation and to repeat a forward pass.

use super::affine::Affine;
use super::normalize::normalize;
use super::Shape;
use crate::activation::Activation;
use crate::cpu::{Number, Parallel};
use crate::error::Result;

/// `y = act((x - mean) * invstd * weight + bias + residual)`. With the statistics that a
/// [`Forward`](super::Forward) saved, it reproduces the `y` of that pass bit for bit.
pub struct Apply<'a, T> {
    pub shape: Shape,
    pub activation: Activation,
    /// `[rows, channels]`
    pub x: &'a [T],
    /// `[channels]`
    pub mean: &'a [f32],
    /// `[channels]`: `1 / sqrt(variance + eps)`.
    pub invstd: &'a [f32],
    /// `[channels]`; one if absent.
    pub weight: Option<&'a [f32]>,
    /// `[channels]`; zero if absent.
    pub bias: Option<&'a [f32]>,
    /// `[rows, channels]`, added before the activation.
    pub residual: Option<&'a [T]>,
    /// `[rows, channels]`
    pub y: &'a mut [T],
}

impl<T: Number> Apply<'_, T> {
    /// # Errors
    /// The shape is empty, a slice does not have its length, or the gradient of the activation
    /// cannot be computed from its output; nothing is written then.
    pub fn run(self, parallel: &dyn Parallel) -> Result<()> {
        self.check()?;
        let affine = Affine::new(self.mean, self.invstd, self.weight, self.bias);
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
        shape.check_channels("mean", self.mean)?;
        shape.check_channels("invstd", self.invstd)?;
        self.weight.map_or(Ok(()), |weight| shape.check_channels("weight", weight))?;
        self.bias.map_or(Ok(()), |bias| shape.check_channels("bias", bias))
    }
}
