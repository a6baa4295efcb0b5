//! A convolution, or one of its gradients, made ready to run: its kernel chosen, its weight kept
//! from step to step in the order in which the kernel reads it.

mod geometry;
mod ready;
mod torch;

pub use geometry::{geometry, Product};
pub use ready::{master, Ready};

/// Who computes a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Torch,
}
