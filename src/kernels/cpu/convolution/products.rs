//! The passes of algorithms with a packed weight. Its type, `W`, selects the algorithm and the type in
//! which it multiplies, which may be another one than that of the activations, `T`.

use std::fmt;

use super::{Geometry, Load};
use crate::activation::Activation;

/// The pass that a weight is packed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    Forward,
    GradInput,
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operand::Forward => "the forward",
            Operand::GradInput => "the gradient of the input",
        })
    }
}

/// `y = activation(convolution(load(x), weight) + bias + residual)`.
pub struct Forward<'a, T, W> {
    pub geometry: Geometry,
    /// `[batch, height, width, in_channels]`
    pub x: &'a [T],
    pub load: Option<Load<'a>>,
    /// Packed for [`Operand::Forward`].
    pub weight: &'a W,
    /// `[out_channels]`
    pub bias: Option<&'a [f32]>,
    /// In the layout of `y`.
    pub residual: Option<&'a [T]>,
    pub activation: Activation,
    /// Whether to return the moments of each channel of `y` as it is stored.
    pub statistics: bool,
    /// `[batch, out height, out width, out_channels]`
    pub y: &'a mut [T],
}

/// `grad_x = transposed convolution(grad_y, weight) + add`: the gradient of the forward's input,
/// after its load.
pub struct GradInput<'a, T, W> {
    pub geometry: Geometry,
    /// `[batch, out height, out width, out_channels]`
    pub grad_y: &'a [T],
    /// Packed for [`Operand::GradInput`].
    pub weight: &'a W,
    /// In the layout of `grad_x`: another gradient of `x`, added before the rounding.
    pub add: Option<&'a [T]>,
    /// `[batch, height, width, in_channels]`
    pub grad_x: &'a mut [T],
}

impl<'a, T, W> Forward<'a, T, W> {
    /// The same pass by the algorithm of another weight.
    pub fn with<V>(self, weight: &'a V) -> Forward<'a, T, V> {
        let Forward { geometry, x, load, bias, residual, activation, statistics, y, .. } = self;
        Forward { geometry, x, load, weight, bias, residual, activation, statistics, y }
    }
}

impl<'a, T, W> GradInput<'a, T, W> {
    /// The same pass by the algorithm of another weight.
    pub fn with<V>(self, weight: &'a V) -> GradInput<'a, T, V> {
        let GradInput { geometry, grad_y, add, grad_x, .. } = self;
        GradInput { geometry, grad_y, weight, add, grad_x }
    }
}
