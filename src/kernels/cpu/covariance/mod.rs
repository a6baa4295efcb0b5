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
//! An image is one task: all of its matrices stay in the cache of a core.

mod backward;
mod forward;
mod iterations;
mod pixels;
mod product;
mod square;
#[cfg(test)]
mod tests;

pub use backward::Backward;
pub use forward::Forward;

use crate::cpu::check_len;
use crate::error::{Error, Result};

/// What is pooled, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub batch: usize,
    pub pixels: usize,
    pub channels: usize,
    /// Newton-Schulz updates.
    pub num_iters: usize,
    /// Whether the mean over the pixels is taken off.
    pub center: bool,
}

impl Shape {
    /// Elements of an image's result: the upper triangle with its diagonal.
    pub fn triangle(&self) -> usize {
        self.channels * (self.channels + 1) / 2
    }

    fn check(&self) -> Result<()> {
        match [self.batch, self.pixels, self.channels, self.num_iters].contains(&0) {
            true => Err(Error::EmptyCovariance { got: format!("{self:?}") }),
            false => Ok(()),
        }
    }

    /// `slice` holds `of_image` elements for each image.
    fn check_images<T>(&self, name: &'static str, of_image: usize, slice: &[T]) -> Result<()> {
        // No slice is as long as a saturated product: an overflow is refused too.
        check_len(name, self.batch.saturating_mul(of_image), slice.len())
    }
}

/// Whether a trace is too small to be divided by: features that are constant.
fn vanishes(trace: f32) -> bool {
    trace < f32::MIN_POSITIVE
}
