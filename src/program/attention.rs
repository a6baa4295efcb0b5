//! Softmax attention without a mask or dropout.

use super::ValueId;

/// `softmax(scale * q k^T) v` for each image and head, of `[batch, heads, tokens, features]`.
///
/// Outputs: y; the logarithm of the sum of the exponentials of each query's scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    pub q: ValueId,
    pub k: ValueId,
    pub v: ValueId,
    pub scale: f64,
}

/// Outputs: the gradients of q, k and v in one tensor, `[batch, tokens, 3, heads, features]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionBackward {
    pub grad_y: ValueId,
    pub q: ValueId,
    pub k: ValueId,
    pub v: ValueId,
    pub logsumexp: ValueId,
    pub scale: f64,
}
