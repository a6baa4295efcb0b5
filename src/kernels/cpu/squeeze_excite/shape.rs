//! The shape and the memory layout of activations.

use crate::cpu::check_len;
use crate::error::Result;

/// The order of the elements of an image in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[pixels, channels]`
    ChannelsLast,
    /// `[channels, pixels]`
    Planes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub batch: usize,
    pub channels: usize,
    pub pixels: usize,
    pub layout: Layout,
}

impl Shape {
    /// Elements of an image.
    pub(super) fn of_image(&self) -> usize {
        self.channels.saturating_mul(self.pixels)
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
