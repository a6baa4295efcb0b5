//! What the kernels on packed weights compute. `W` is the packed weight, and so says by which kernel.

use super::{Geometry, Load};
use crate::activation::Activation;

/// The pass that a weight is packed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    Forward,
    GradInput,
}

/// `y = activation(convolution(load(x), weight) + bias + residual)`.
pub struct Forward<'a, T, W> {
    pub geometry: Geometry,
    /// `[batch, height, width, in_channels]`
    pub x: &'a [T],
    pub load: Option<Load<'a>>,
    /// Packed for [`Operand::Forward`](super::Operand::Forward).
    pub weight: &'a W,
    /// `[out_channels]`
    pub bias: Option<&'a [f32]>,
    /// As `y`.
    pub residual: Option<&'a [T]>,
    pub activation: Activation,
    /// Gives the moments of each channel of `y`, as it is stored.
    pub statistics: bool,
    /// `[batch, out height, out width, out_channels]`
    pub y: &'a mut [T],
}

/// The gradient of the forward's `x`, as it was after its load, plus what is to be added to it.
pub struct GradInput<'a, T, W> {
    pub geometry: Geometry,
    /// `[batch, out height, out width, out_channels]`
    pub grad_y: &'a [T],
    /// Packed for [`Operand::GradInput`](super::Operand::GradInput).
    pub weight: &'a W,
    /// As `grad_x`: another gradient of `x`, added before the rounding.
    pub add: Option<&'a [T]>,
    /// `[batch, height, width, in_channels]`
    pub grad_x: &'a mut [T],
}

impl<'a, T, W> Forward<'a, T, W> {
    /// The same by another kernel.
    pub fn with<V>(self, weight: &'a V) -> Forward<'a, T, V> {
        let Forward { geometry, x, load, bias, residual, activation, statistics, y, .. } = self;
        Forward { geometry, x, load, weight, bias, residual, activation, statistics, y }
    }
}

impl<'a, T, W> GradInput<'a, T, W> {
    /// The same by another kernel.
    pub fn with<V>(self, weight: &'a V) -> GradInput<'a, T, V> {
        let GradInput { geometry, grad_y, add, grad_x, .. } = self;
        GradInput { geometry, grad_y, weight, add, grad_x }
    }
}
