//! Which kernel computes a product.

use super::tuner::Tuner;
use super::Product;
use crate::error::Result;
use crate::kernels::cpu::convolution::{candidates, Algorithm, Geometry, Preference};
use crate::program::Dtype;

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
