//! Activations on lanes, and what their gradients are.

use crate::activation::Activation;
use crate::cpu::Simd;
use crate::error::{Error, Result};

impl Activation {
    /// # Errors
    /// The slope is not a number of zero or more, or the maximum is not above zero.
    pub(super) fn check(self) -> Result<()> {
        let Activation { slope, max } = self;
        let fits = slope >= 0.0 && slope.is_finite() && max > 0.0;
        fits.then_some(()).ok_or(Error::Activation { slope, max })
    }

    pub(super) fn lanes(self) -> Lanes {
        let kind = match (self.slope, self.max) {
            (1.0, f32::INFINITY) => Kind::Identity,
            (0.0, f32::INFINITY) => Kind::Relu,
            (_, f32::INFINITY) => Kind::Leaky,
            _ => Kind::Clamped,
        };
        Lanes { kind, activation: self }
    }
}

/// An activation as the SIMD kernels see it, told apart beforehand. A NaN stays one.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    kind: Kind,
    activation: Activation,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Identity,
    Relu,
    Leaky,
    Clamped,
}

impl Lanes {
    #[inline(always)]
    pub(super) fn is_identity(self) -> bool {
        self.kind == Kind::Identity
    }

    /// Whether gradients may come out as other numbers than they were and zero.
    #[inline(always)]
    pub(super) fn scales(self) -> bool {
        self.activation.slope != 0.0 && !self.is_identity()
    }

    #[inline(always)]
    pub(super) fn apply<S: Simd, const V: usize>(self, simd: S, values: &mut [S::F; V]) {
        let zero = simd.zero();
        let (slope, max) = (simd.splat(self.activation.slope), simd.splat(self.activation.max));
        // Loops and not closures: those are compiled without the instructions.
        for v in values {
            *v = match self.kind {
                Kind::Identity => *v,
                Kind::Relu => simd.max(zero, *v),
                Kind::Leaky => simd.where_le(*v, zero, simd.mul(*v, slope), *v),
                Kind::Clamped => simd.min(max, simd.where_le(*v, zero, simd.mul(*v, slope), *v)),
            };
        }
    }

    /// The gradients before the activation, from those behind it and its `outputs`.
    #[inline(always)]
    pub(super) fn gradient<S: Simd, const V: usize>(
        self,
        simd: S,
        outputs: &[S::F; V],
        gradients: &mut [S::F; V],
    ) {
        let zero = simd.zero();
        let (slope, max) = (simd.splat(self.activation.slope), simd.splat(self.activation.max));
        for (g, y) in gradients.iter_mut().zip(outputs) {
            *g = match self.kind {
                Kind::Identity => *g,
                Kind::Relu => simd.where_le(*y, zero, zero, *g),
                Kind::Leaky => simd.where_le(*y, zero, simd.mul(*g, slope), *g),
                Kind::Clamped => {
                    let scaled = simd.where_le(*y, zero, simd.mul(*g, slope), *g);
                    simd.where_le(max, *y, zero, scaled)
                }
            };
        }
    }
}
