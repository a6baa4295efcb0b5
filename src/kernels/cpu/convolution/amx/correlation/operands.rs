//! The operands of a correlation.

use half::bf16;

use super::plan::Plan;
use crate::activation::Activation;
use crate::kernels::cpu::convolution::Load;

/// `out = activation(correlation(load(source), weight) + bias + residual)`. The slices have been
/// checked.
pub(in super::super) struct Correlation<'a> {
    pub plan: Plan,
    pub source: &'a [bf16],
    pub load: Option<Load<'a>>,
    /// Packed for this correlation. All groups share the weight and the bias.
    pub weight: *const u32,
    pub bias: Option<&'a [f32]>,
    pub residual: Option<&'a [bf16]>,
    pub activation: Activation,
    pub statistics: bool,
}

// SAFETY: the weight is only read.
unsafe impl Sync for Correlation<'_> {}
