//! The operands of a correlation.

use half::bf16;

use super::plan::Plan;
use crate::activation::Activation;
use crate::cpu::ROW_BYTES;
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

impl Correlation<'_> {
    /// Whether pixels are read where they are rather than copied.
    pub(super) fn reads_source(&self) -> bool {
        let aligned = self.source.as_ptr().addr().is_multiple_of(ROW_BYTES);
        self.load.is_none() && aligned && self.plan.reads_source()
    }
}

// SAFETY: the weight is only read.
unsafe impl Sync for Correlation<'_> {}
