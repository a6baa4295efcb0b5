//! Global covariance pooling: from the pixels of an image to the square root of the covariance of
//! its channels, by Newton-Schulz iterations (Li et al., arXiv 1712.01034).
//!
//! With `A = S / tr(S)` the iterations make a polynomial of A, and all matrices on the way are
//! symmetric polynomials of it too. So
//! - of every product one triangle is computed, and mirrored;
//! - the gradient for a symmetric `P` behind the polynomial is the polynomial's *derivative in the
//!   direction P*: the iterations are run once more, with their tangents beside them. Nothing but
//!   the covariance has to be kept for it.
//!
//! An image is one task: all of its matrices stay in the cache of a core. Where there are fewer images
//! than threads, the threads share the blocks of each product instead, with the same results.

mod backward;
mod forward;
mod images;
mod iterations;
mod pixels;
mod product;
mod shape;
mod square;
#[cfg(test)]
mod tests;

pub use backward::Backward;
pub use forward::Forward;
pub use shape::Shape;
