//! Which kernel computes a product.

use super::tuner::Tuner;
use super::{Algorithm, Product};
use crate::error::Result;
use crate::kernels::cpu::convolution::{winograd, Geometry};
use crate::program::Dtype;

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// The fastest of those that round as torch does.
    #[default]
    Auto,
    /// Our direct kernels wherever they can.
    Direct,
    /// Winograd's wherever they can: fewer multiplications, a larger error.
    Winograd,
    /// torch's.
    Torch,
}

impl Preference {
    pub const NAMES: [(&'static str, Preference); 4] = [
        ("auto", Preference::Auto),
        ("direct", Preference::Direct),
        ("winograd", Preference::Winograd),
        ("torch", Preference::Torch),
    ];
}

/// How kernels are chosen.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub preference: Preference,
    /// Times the candidates where there are several; without one the likeliest is taken.
    pub tuner: Option<Tuner>,
}

impl Choice {
    pub fn of(&self, product: Product, geometry: &Geometry, dtype: Dtype) -> Result<Algorithm> {
        let candidates = candidates(self.preference, geometry);
        match (&self.tuner, candidates.as_slice()) {
            (_, []) => Ok(Algorithm::Torch),
            (_, [only]) => Ok(*only),
            (None, [first, ..]) => Ok(*first),
            (Some(tuner), _) => tuner.fastest(product, geometry, dtype, &candidates),
        }
    }
}

/// Who can compute a product, the likeliest to be fast first.
fn candidates(preference: Preference, geometry: &Geometry) -> Vec<Algorithm> {
    let ours = match geometry {
        _ if geometry.is_depthwise() => Some(Algorithm::Depthwise),
        Geometry { groups: 1, .. } => Some(Algorithm::Direct),
        _ => None,
    };
    match (preference, ours) {
        (Preference::Torch, _) | (_, None) => vec![Algorithm::Torch],
        (Preference::Auto, Some(ours)) => vec![ours, Algorithm::Torch],
        (Preference::Direct, Some(ours)) => vec![ours],
        (Preference::Winograd, Some(ours)) => match winograd::takes(geometry) {
            true => vec![Algorithm::Winograd],
            false => vec![ours, Algorithm::Torch],
        },
    }
}
