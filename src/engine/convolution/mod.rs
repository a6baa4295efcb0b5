//! A convolution, or one of its gradients, made ready to run: its kernel chosen, its weight kept
//! from step to step in the order in which the kernel reads it.

mod geometry;
mod ready;
mod torch;
mod typed;

pub use geometry::{geometry, Product};
pub use ready::{master, Ready};

use crate::kernels::cpu::convolution::{winograd, Geometry};

/// Who computes a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Direct,
    Winograd,
    Depthwise,
    Torch,
}

impl Algorithm {
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Direct => "direct",
            Algorithm::Winograd => "winograd",
            Algorithm::Depthwise => "depthwise",
            Algorithm::Torch => "torch",
        }
    }
}

/// Who can compute a product, the likeliest to be fast first.
pub fn candidates(geometry: &Geometry, winograd: bool) -> Vec<Algorithm> {
    let mut candidates = Vec::new();
    if winograd && winograd::takes(geometry) {
        candidates.push(Algorithm::Winograd);
    }
    if geometry.is_depthwise() {
        candidates.push(Algorithm::Depthwise);
    } else if geometry.groups == 1 {
        candidates.push(Algorithm::Direct);
    }
    candidates.push(Algorithm::Torch);
    candidates
}
