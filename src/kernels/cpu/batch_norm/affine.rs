//! The elementwise half of batch norm, for the forward and for the backward, which repeats it.

use super::lanes::constants;
use super::tiling::Tiling;
use crate::cpu::Simd;

/// `(x - mean) * scale + shift` for each channel. The mean is subtracted first and not folded into
/// the shift, which preserves precision where it is large.
pub(super) struct Affine {
    pub mean: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

impl Affine {
    /// Uses the f32 statistics, which the backward has as well, so that both compute the same
    /// numbers.
    pub(super) fn new(
        mean: &[f32],
        invstd: &[f32],
        weight: Option<&[f32]>,
        bias: Option<&[f32]>,
    ) -> Affine {
        let scale = match weight {
            Some(weight) => weight.iter().zip(invstd).map(|(w, i)| w * i).collect(),
            None => invstd.to_vec(),
        };
        let shift = bias.map_or_else(|| vec![0.0; mean.len()], <[f32]>::to_vec);
        Affine { mean: mean.to_vec(), scale, shift }
    }

    pub(super) fn spread(&self, tiling: &Tiling) -> Affine {
        Affine {
            mean: tiling.spread(&self.mean),
            scale: tiling.spread(&self.scale),
            shift: tiling.spread(&self.shift),
        }
    }

    #[inline(always)]
    pub(super) fn lanes<S: Simd, const V: usize>(&self, simd: S, lane: usize) -> AffineLanes<S, V> {
        AffineLanes {
            mean: constants(simd, &self.mean, lane),
            scale: constants(simd, &self.scale, lane),
            shift: constants(simd, &self.shift, lane),
        }
    }
}

/// [`Affine`] for the lanes of a window.
#[derive(Clone, Copy)]
pub(super) struct AffineLanes<S: Simd, const V: usize> {
    mean: [S::F; V],
    pub scale: [S::F; V],
    shift: [S::F; V],
}

impl<S: Simd, const V: usize> AffineLanes<S, V> {
    #[inline(always)]
    pub(super) fn center(&self, simd: S, values: &mut [S::F; V]) {
        for (value, mean) in values.iter_mut().zip(self.mean) {
            *value = simd.sub(*value, mean);
        }
    }

    /// Scales and shifts centered values. Not fused, so that all levels give the same bits.
    #[inline(always)]
    pub(super) fn stretch(&self, simd: S, values: &mut [S::F; V]) {
        for (i, value) in values.iter_mut().enumerate() {
            *value = simd.add(simd.mul(*value, self.scale[i]), self.shift[i]);
        }
    }
}
