//! A 2-D convolution and its two gradients, as operations of their own.

use serde::{Deserialize, Serialize};

use super::ValueId;
use crate::activation::Activation;

/// What of a convolution is not in the shapes of its tensors. Pairs are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
    /// The groups fall into so many blocks, which share one weight and one bias.
    pub num_blocks: usize,
}

/// The algorithm that computes one product of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    Direct,
    Winograd,
    Depthwise,
    Torch,
}

impl Algorithm {
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Direct => "direct",
            Algorithm::Winograd => "winograd",
            Algorithm::Depthwise => "depthwise",
            Algorithm::Torch => "torch",
        }
    }

    /// Whether the convolution can compute the moments of its result while it stores it.
    pub fn gives_moments(self) -> bool {
        self != Algorithm::Torch
    }

    /// Whether the convolution can apply a [`Load`] to its input.
    pub fn takes_load(self) -> bool {
        matches!(self, Algorithm::Direct | Algorithm::Winograd)
    }
}

/// A batch norm's second half and its activation, done to x as it is read:
/// `activation(scale * x + shift)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// fp32, as `shift`: one for each channel.
    pub scale: ValueId,
    pub shift: ValueId,
    pub activation: Activation,
}

/// A batch norm in evaluation mode behind a convolution, which is folded into its weight and bias.
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
    /// The fp32 master, whatever the type of `x`.
    pub weight: ValueId,
    /// fp32
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
    /// As in the forward.
    pub load: Option<Load>,
    /// Told for its shape; not read.
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
