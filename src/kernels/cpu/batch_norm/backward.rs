//! Backward of the training-mode forward.

use super::affine::Affine;
use super::columns;
use super::gradient_sums::{gradient_sums, Sums};
use super::input_gradient::{input_gradient, Linear};
use super::masking::{Mask, Masking};
use super::Shape;
use crate::activation::Activation;
use crate::cpu::{Number, Parallel};
use crate::error::Result;

/// The gradients of `y = act(batch_norm(x) + residual)`. Reads its inputs twice, or once if the
/// sums are known or it has few rows.
pub struct Backward<'a, T> {
    pub shape: Shape,
    pub activation: Activation,
    /// `[rows, channels]`
    pub grad_y: &'a [T],
    /// The source of the output of the activation.
    pub mask: Mask<'a, T>,
    /// The sums over the masked gradient, if they have been computed already.
    pub sums: Option<Sums>,
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
    /// `[rows, channels]`: the masked `grad_y`.
    pub grad_residual: Option<&'a mut [T]>,
    /// `[channels]`
    pub grad_weight: &'a mut [f32],
    /// `[channels]`
    pub grad_bias: &'a mut [f32],
}

impl<T: Number> Backward<'_, T> {
    /// # Errors
    /// The shape is empty, a slice does not have its length, or the gradient of the activation
    /// cannot be computed from its output; nothing is written then.
    pub fn run(mut self, parallel: &dyn Parallel) -> Result<()> {
        self.check()?;
        if self.sums.is_none() && columns::fit::<T>(self.shape) {
            return columns::backward(self, parallel);
        }
        let Backward { shape, grad_y, x, mask, save_invstd, .. } = self;
        let mut masking = mask.masking(self.activation);
        let affine = Affine::new(self.save_mean, save_invstd, self.weight, mask.bias());
        let mut inputs = [grad_y, x, mask.output()];
        let mut written = self.grad_residual.take();
        let sums = match self.sums {
            Some(sums) => sums,
            None => {
                let to = written.as_deref_mut();
                let sums = gradient_sums(parallel, shape, &affine, masking, inputs, to)?;
                // The masked gradient, if it has been written, needs no mask anymore.
                if let Some(written) = written.take() {
                    (inputs, masking) = ([written, x, &[]], Masking::None);
                }
                sums
            }
        };
        sums.save(save_invstd, self.grad_weight, self.grad_bias);
        let linear = Linear::new(affine, save_invstd, shape.rows, &sums);
        input_gradient(parallel, shape, &linear, masking, inputs, self.grad_x, written)
    }

    fn check(&self) -> Result<()> {
        let shape = self.shape;
        shape.check()?;
        self.activation.check()?;
        shape.check_matrix("grad_y", self.grad_y)?;
        match self.mask {
            Mask::None => {}
            Mask::Output(y) => shape.check_matrix("y", y)?,
            Mask::Recomputed { bias } => {
                bias.map_or(Ok(()), |bias| shape.check_channels("bias", bias))?;
            }
        }
        shape.check_matrix("x", self.x)?;
        self.weight.map_or(Ok(()), |weight| shape.check_channels("weight", weight))?;
        shape.check_channels("save_mean", self.save_mean)?;
        shape.check_channels("save_invstd", self.save_invstd)?;
        shape.check_matrix("grad_x", self.grad_x)?;
        let residual = self.grad_residual.as_deref();
        residual.map_or(Ok(()), |grad| shape.check_matrix("grad_residual", grad))?;
        shape.check_channels("grad_weight", self.grad_weight)?;
        shape.check_channels("grad_bias", self.grad_bias)?;
        self.sums.as_ref().map_or(Ok(()), |sums| {
            shape.check_channels("sums.grad", &sums.grad)?;
            shape.check_channels("sums.product", &sums.product)
        })
    }
}
