//! Layer norm over the last dimensions of a tensor.

use super::ValueId;

/// Outputs: y, in its own type; the mean and the inverse standard deviation of each row, in fp32.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    pub x: ValueId,
    pub weight: Option<ValueId>,
    pub bias: Option<ValueId>,
    /// The number of last dimensions that are normalized together.
    pub dims: usize,
    pub eps: f64,
}

/// Outputs: grad_x, grad_weight, grad_bias, and grad_x in bf16.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNormBackward {
    /// In a type of its own.
    pub grad_y: ValueId,
    pub x: ValueId,
    pub mean: ValueId,
    pub rstd: ValueId,
    pub weight: Option<ValueId>,
    /// Another part of the gradient of x, which is added to grad_x.
    pub add: Option<ValueId>,
    pub dims: usize,
}
