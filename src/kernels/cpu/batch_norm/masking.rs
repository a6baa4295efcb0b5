//! The gradient through the activation.

use super::affine::AffineLanes;
use super::lanes::load;
use crate::activation::Activation;
use crate::cpu::{Number, Simd};
use crate::kernels::cpu::activation::SimdActivation;

/// The source of the activation's output in a backward pass.
#[derive(Debug)]
pub enum Mask<'a, T> {
    /// There was no activation, or the gradient has been masked already.
    None,
    /// `[rows, channels]`: the output of the forward pass.
    Output(&'a [T]),
    /// The output is computed again, as in the forward pass, which had no residual.
    Recomputed {
        /// `[channels]`; zero if absent.
        bias: Option<&'a [f32]>,
    },
}

// Not derived, because `T` need not be `Copy`.
impl<T> Clone for Mask<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Mask<'_, T> {}

impl<'a, T> Mask<'a, T> {
    /// The forward's output, or an empty slice.
    pub(super) fn output(self) -> &'a [T] {
        match self {
            Mask::Output(y) => y,
            _ => &[],
        }
    }

    pub(super) fn bias(self) -> Option<&'a [f32]> {
        match self {
            Mask::Recomputed { bias } => bias,
            _ => None,
        }
    }

    pub(super) fn masking(self, activation: Activation) -> Masking {
        match self {
            Mask::Output(_) => Masking::Output(activation.simd()),
            Mask::Recomputed { .. } if !activation.simd().is_identity() => {
                Masking::Recomputed(activation.simd())
            }
            _ => Masking::None,
        }
    }
}

/// [`Mask`] for the windows of a pass.
#[derive(Clone, Copy)]
pub(super) enum Masking {
    None,
    Output(SimdActivation),
    Recomputed(SimdActivation),
}

impl Masking {
    /// Masks the gradients `g` of the elements from `at` on, where `d` is `x - mean`.
    ///
    /// # Safety
    /// `y`, if it is needed, has `V` vectors from `at` on.
    #[inline(always)]
    pub(super) unsafe fn apply<S: Simd, T: Number, const V: usize>(
        self,
        simd: S,
        affine: &AffineLanes<S, V>,
        y: &[T],
        at: usize,
        d: &[S::F; V],
        g: &mut [S::F; V],
    ) {
        let activation = match self {
            Masking::None => return,
            Masking::Output(activation) => {
                // SAFETY: the caller's.
                let y: [S::F; V] = unsafe { load(simd, y.as_ptr().add(at)) };
                activation.gradient(simd, &y, g);
                activation
            }
            Masking::Recomputed(activation) => {
                let mut v = *d;
                affine.stretch(simd, &mut v);
                activation.apply_all(simd, &mut v);
                for v in &mut v {
                    *v = T::rounded(simd, *v);
                }
                activation.gradient(simd, &v, g);
                activation
            }
        };
        // A masked gradient is a tensor like any other: it has the precision of `T` whether it is
        // written or not.
        if activation.scales() {
            for g in g {
                *g = T::rounded(simd, *g);
            }
        }
    }
}
