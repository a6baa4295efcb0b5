//! The operands of a correlation.

use super::super::packed_weight::PackedWeight;
use super::super::view::View;
use super::plan::Plan;
use crate::activation::Activation;
use crate::kernels::cpu::convolution::Load;

/// `out = activation(correlation(load(source), weight) + bias + residual)`. The slices have been
/// checked.
pub(in super::super) struct Correlation<'a, T, M> {
    pub plan: Plan,
    pub view: View,
    pub source: &'a [T],
    pub load: Option<Load<'a>>,
    /// Packed for this correlation. All groups share the weight and the bias.
    pub weight: &'a PackedWeight<M>,
    pub bias: Option<&'a [f32]>,
    pub residual: Option<&'a [T]>,
    pub activation: Activation,
    pub statistics: bool,
}
