//! Activations and their gradients, applied to vectors.

use crate::activation::Activation;
use crate::cpu::Simd;
use crate::error::{Error, Result};

impl Activation {
    /// # Errors
    /// The slope is not a number of zero or more, or the maximum is not above zero: the gradient
    /// cannot be computed from the output.
    pub(super) fn check(self) -> Result<()> {
        let Activation { slope, max } = self;
        let fits = slope >= 0.0 && slope.is_finite() && max > 0.0;
        fits.then_some(()).ok_or(Error::Activation { slope, max })
    }

    /// The form that kernels apply.
    #[inline(always)]
    pub(super) fn simd(self) -> SimdActivation {
        let kind = match (self.slope, self.max) {
            (1.0, f32::INFINITY) => Kind::Identity,
            (0.0, f32::INFINITY) => Kind::Relu,
            (0.0, _) => Kind::ClampedRelu,
            (_, f32::INFINITY) => Kind::Leaky,
            _ => Kind::ClampedLeaky,
        };
        SimdActivation { kind, activation: self }
    }
}

/// An activation whose kind has been determined before the loops. NaN stays NaN.
#[derive(Clone, Copy)]
pub(super) struct SimdActivation {
    kind: Kind,
    activation: Activation,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Identity,
    Relu,
    ClampedRelu,
    Leaky,
    ClampedLeaky,
}

// Loops and not closures below: closures are compiled without the instructions of the level.
impl SimdActivation {
    /// Constants of the kinds that are worth a loop of their own: passed to an inlined loop, they
    /// leave no branch in it.
    pub(super) const IDENTITY: SimdActivation =
        SimdActivation { kind: Kind::Identity, activation: Activation::IDENTITY };
    pub(super) const RELU: SimdActivation =
        SimdActivation { kind: Kind::Relu, activation: Activation::RELU };

    #[inline(always)]
    pub(super) fn is_identity(self) -> bool {
        self.kind == Kind::Identity
    }

    #[inline(always)]
    pub(super) fn is_relu(self) -> bool {
        self.kind == Kind::Relu
    }

    /// Whether a gradient may become anything other than itself and zero.
    #[inline(always)]
    pub(super) fn scales(self) -> bool {
        self.activation.slope != 0.0 && !self.is_identity()
    }

    #[inline(always)]
    pub(super) fn apply<S: Simd>(self, simd: S, value: S::F) -> S::F {
        let zero = simd.zero();
        let (slope, max) = (simd.splat(self.activation.slope), simd.splat(self.activation.max));
        // Where one operand is NaN, `max` and `min` return the second.
        match self.kind {
            Kind::Identity => value,
            Kind::Relu => simd.max(zero, value),
            Kind::ClampedRelu => simd.min(max, simd.max(zero, value)),
            Kind::Leaky => simd.where_le(value, zero, simd.mul(value, slope), value),
            Kind::ClampedLeaky => {
                simd.min(max, simd.where_le(value, zero, simd.mul(value, slope), value))
            }
        }
    }

    #[inline(always)]
    pub(super) fn apply_all<S: Simd, const V: usize>(self, simd: S, values: &mut [S::F; V]) {
        for value in values {
            *value = self.apply(simd, *value);
        }
    }

    /// Turns the gradients after the activation into those before it, by its `outputs`.
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
            let below = match self.kind {
                Kind::Identity => continue,
                Kind::Relu | Kind::ClampedRelu => zero,
                Kind::Leaky | Kind::ClampedLeaky => simd.mul(*g, slope),
            };
            *g = simd.where_le(*y, zero, below, *g);
            if matches!(self.kind, Kind::ClampedRelu | Kind::ClampedLeaky) {
                *g = simd.where_le(max, *y, zero, *g);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{each_level, forced};
    use crate::cpu::{dispatch, Kernel, LANES};

    const ALL: [Activation; 5] = [
        Activation::IDENTITY,
        Activation::RELU,
        Activation::RELU6,
        Activation { slope: 0.25, max: f32::INFINITY },
        Activation { slope: 0.5, max: 2.0 },
    ];
    const VALUES: [f32; LANES] = {
        let mut values = [0.0; LANES];
        let (mut i, some) =
            (0, [-f32::INFINITY, -8.0, -1e-30, 0.0, 1e-30, 0.5, 6.0, 8.0, f32::NAN]);
        while i < some.len() {
            values[i] = some[i];
            i += 1;
        }
        values
    };

    /// Values become outputs, and gradients of three become gradients of the values.
    struct Check<'a>(Activation, &'a mut [f32; LANES], &'a mut [f32; LANES]);

    impl Kernel for Check<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Check(activation, values, gradients) = self;
            // SAFETY: both arrays hold a vector.
            unsafe {
                let output = activation.simd().apply(simd, simd.load_f32(values.as_ptr()));
                simd.store_f32(values.as_mut_ptr(), output);
                let mut gradient = [simd.splat(3.0)];
                activation.simd().gradient(simd, &[output], &mut gradient);
                simd.store_f32(gradients.as_mut_ptr(), gradient[0]);
            }
        }
    }

    #[test]
    fn every_kind_follows_its_formula() {
        for (activation, level) in ALL.into_iter().flat_map(|a| each_level().map(move |l| (a, l))) {
            let (mut outputs, mut gradients) = (VALUES, [0.0; LANES]);
            forced(level, || dispatch(Check(activation, &mut outputs, &mut gradients)));
            let Activation { slope, max } = activation;
            for ((v, y), g) in VALUES.into_iter().zip(outputs).zip(gradients) {
                if v.is_nan() {
                    assert!(y.is_nan(), "{activation:?}");
                    continue;
                }
                let negative = if slope == 0.0 { 0.0 } else { slope * v };
                let (expected, passed) = match v {
                    _ if activation == Activation::IDENTITY => (v, 3.0),
                    _ if v <= 0.0 => (negative, 3.0 * slope),
                    _ if v >= max => (max, 0.0),
                    _ => (v, 3.0),
                };
                assert!(y == expected && g == passed, "{activation:?} {level:?}: {v} {y} {g}");
            }
        }
    }
}
