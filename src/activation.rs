//! What follows a batch norm: nothing, ReLU, ReLU6 or LeakyReLU, as one formula.

/// `min(v, max)` where `v > 0`, else `slope * v`.
///
/// The gradient passes where `0 < v < max`, is scaled by `slope` where `v <= 0`, and is zero where
/// `v >= max`, as torch has it. With a slope of zero or more all of that can be told from the output.
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
