//! A 2-D convolution and its two gradients, as operations of their own.

use super::ValueId;

/// What of a convolution is not in the shapes of its tensors. Pairs are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
}

/// Outputs: y.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    pub x: ValueId,
    /// The fp32 master, whatever the type of `x`.
    pub weight: ValueId,
    /// fp32
    pub bias: Option<ValueId>,
    pub window: Window,
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
}

/// Outputs: grad_weight, grad_bias; both fp32.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvolutionGradWeight {
    pub grad_y: ValueId,
    pub x: ValueId,
    /// Told for its shape; not read.
    pub weight: ValueId,
    pub window: Window,
}
