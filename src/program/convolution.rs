//! Typed operations for a 2-D convolution and its two gradients.

use serde::{Deserialize, Serialize};

use super::ValueId;
use crate::activation::Activation;

/// The settings of a convolution that its tensors' shapes do not contain. Pairs are `[vertical,
/// horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
    /// The number of blocks of groups that share one weight and one bias.
    pub num_blocks: usize,
}

/// The algorithm that computes one product of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    Direct,
    /// Direct, in bf16 whose numbers are multiplied as f32.
    DirectF32,
    Winograd,
    /// Winograd's, in bf16 whose numbers are multiplied as f32.
    WinogradF32,
    Depthwise,
    Amx,
    Torch,
}

impl Algorithm {
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Direct => "direct",
            Algorithm::DirectF32 => "direct-f32",
            Algorithm::Winograd => "winograd",
            Algorithm::WinogradF32 => "winograd-f32",
            Algorithm::Depthwise => "depthwise",
            Algorithm::Amx => "amx",
            Algorithm::Torch => "torch",
        }
    }

    /// Whether the convolution can compute the moments of its result while it stores it.
    pub fn gives_moments(self) -> bool {
        self != Algorithm::Torch
    }

    /// Whether the convolution can apply a [`Load`] to its input.
    pub fn takes_load(self) -> bool {
        !matches!(self, Algorithm::Depthwise | Algorithm::Torch)
    }
}

/// The normalization and the activation of the batch norm before a convolution, which the
/// convolution applies to x as it reads it: `activation(scale * x + shift)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// One fp32 number for each channel, as in `shift`.
    pub scale: ValueId,
    pub shift: ValueId,
    pub activation: Activation,
}

/// A batch norm in evaluation mode after a convolution, folded into its weight and bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Fold {
    pub weight: Option<ValueId>,
    pub bias: Option<ValueId>,
    pub running_mean: ValueId,
    pub running_var: ValueId,
    pub eps: f64,
}

/// `activation(fold(convolution(load(x))) + residual)`. Outputs: y, its moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    pub x: ValueId,
    pub load: Option<Load>,
    /// The fp32 master, for any type of `x`.
    pub weight: ValueId,
    /// The fp32 master.
    pub bias: Option<ValueId>,
    pub fold: Option<Fold>,
    pub residual: Option<ValueId>,
    pub activation: Activation,
    pub window: Window,
    /// `None` until the engine has chosen one.
    pub algorithm: Option<Algorithm>,
}

/// Outputs: grad_x.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvolutionGradInput {
    pub grad_y: ValueId,
    /// The fp32 master.
    pub weight: ValueId,
    pub window: Window,
    /// Another gradient of x, added to this one.
    pub add: Option<ValueId>,
    pub algorithm: Option<Algorithm>,
}

/// Outputs: grad_weight, grad_bias; both fp32.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvolutionGradWeight {
    pub grad_y: ValueId,
    pub x: ValueId,
    /// The load of the forward convolution.
    pub load: Option<Load>,
    /// Only its shape is read.
    pub weight: ValueId,
    pub window: Window,
    pub algorithm: Option<Algorithm>,
}

impl Convolution {
    pub fn plain(x: ValueId, weight: ValueId, bias: Option<ValueId>, window: Window) -> Self {
        let (load, fold, residual, algorithm) = (None, None, None, None);
        let activation = Activation::IDENTITY;
        Convolution { x, load, weight, bias, fold, residual, activation, window, algorithm }
    }
}

impl Load {
    pub(super) fn for_each_value_mut(&mut self, visit: &mut impl FnMut(&mut ValueId)) {
        visit(&mut self.scale);
        visit(&mut self.shift);
    }
}

impl Fold {
    pub(super) fn for_each_value_mut(&mut self, visit: &mut impl FnMut(&mut ValueId)) {
        self.weight.iter_mut().chain(&mut self.bias).for_each(&mut *visit);
        visit(&mut self.running_mean);
        visit(&mut self.running_var);
    }
}
