//! What squeeze-and-excitation does to activations (Hu et al., arXiv 1709.01507): the means of an
//! image's channels, and channels times a number of each image. The backward of the latter reads
//! the gradient and the input once, for both of its results.
//!
//! An image is one task; sums are taken in an order that depends on the shape alone.

mod channels;
mod image;
mod shape;
#[cfg(test)]
mod tests;

pub use channels::{Means, Scale, ScaleBackward};
pub use shape::{Layout, Shape};
