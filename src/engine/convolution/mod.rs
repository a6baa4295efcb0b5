//! A convolution, or one of its gradients, made ready to run: its kernel chosen, its weight kept
//! from step to step in the order in which the kernel reads it.

mod choice;
mod geometry;
mod ready;
mod torch;
mod tuner;
mod typed;

pub use choice::{Choice, Preference};
pub use geometry::{geometry, Product};
pub use ready::{master, Ready};
pub use tuner::Tuner;

/// Who computes a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Direct,
    Winograd,
    Depthwise,
    Torch,
}

impl Algorithm {
    const ALL: [Algorithm; 4] =
        [Algorithm::Direct, Algorithm::Winograd, Algorithm::Depthwise, Algorithm::Torch];

    fn named(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Direct => "direct",
            Algorithm::Winograd => "winograd",
            Algorithm::Depthwise => "depthwise",
            Algorithm::Torch => "torch",
        }
    }
}
