//! The shape of a covariance pooling.

use crate::cpu::check_len;
use crate::error::{Error, Result};

/// The shape of what is pooled, and the settings of the pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub batch: usize,
    pub pixels: usize,
    pub channels: usize,
    /// Newton-Schulz updates.
    pub num_iters: usize,
    /// Whether the mean over the pixels is subtracted.
    pub center: bool,
}

impl Shape {
    /// Elements of an image's result: the upper triangle with its diagonal.
    pub fn triangle(&self) -> usize {
        self.channels * (self.channels + 1) / 2
    }

    pub(super) fn check(&self) -> Result<()> {
        let Shape { batch, pixels, channels, num_iters, .. } = self;
        match [batch, pixels, channels, num_iters].contains(&&0) {
            true => Err(Error::EmptyCovariance {
                got: format!("{batch}, {pixels}, {channels} and {num_iters}"),
            }),
            false => Ok(()),
        }
    }

    /// `slice` holds `of_image` elements for each image.
    pub(super) fn check_images<T>(
        &self,
        name: &'static str,
        of_image: usize,
        slice: &[T],
    ) -> Result<()> {
        // No slice is as long as a saturated product: an overflow is refused too.
        check_len(name, self.batch.saturating_mul(of_image), slice.len())
    }
}

/// Whether a trace is too small to divide by, as that of constant features.
pub(super) fn vanishes(trace: f32) -> bool {
    trace < f32::MIN_POSITIVE
}
