//! The activations that can follow a convolution or a batch norm.

/// `min(v, max)` where `v > 0`, and `slope * v` elsewhere: the identity, ReLU, ReLU6 or LeakyReLU.
///
/// As in torch, the gradient is passed where `0 < v < max`, scaled by `slope` where `v <= 0`, and
/// zero where `v >= max`. With a slope of zero or more it can be computed from the output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activation {
    pub slope: f32,
    pub max: f32,
}

impl Activation {
    pub const IDENTITY: Activation = Activation { slope: 1.0, max: f32::INFINITY };
    pub const RELU: Activation = Activation { slope: 0.0, max: f32::INFINITY };
    pub const RELU6: Activation = Activation { slope: 0.0, max: 6.0 };
}
