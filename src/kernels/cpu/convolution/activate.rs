//! An activation, sixteen lanes at a time.

use crate::activation::Activation;
use crate::cpu::Simd;

/// A NaN stays one.
#[inline(always)]
pub(super) fn activate<S: Simd>(simd: S, activation: Activation, value: S::F) -> S::F {
    let Activation { slope, max } = activation;
    if slope == 1.0 {
        return simd.min(simd.splat(max), value);
    }
    let positive = simd.min(simd.splat(max), simd.max(simd.zero(), value));
    if slope == 0.0 {
        return positive;
    }
    simd.mul_add(simd.splat(slope), simd.min(simd.zero(), value), positive)
}
