//! What is done to an input as it is read.

use std::ops::Range;

use crate::activation::Activation;
use crate::cpu::check_len;
use crate::error::Result;

/// A batch norm's apply and its activation: `x` is read as `activation(scale * x + shift)`, rounded
/// to its own type. Padding stays zero.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// `[in_channels]`
    pub scale: &'a [f32],
    /// `[in_channels]`
    pub shift: &'a [f32],
    pub activation: Activation,
}

impl<'a> Load<'a> {
    /// The same for some of the channels, which are there.
    pub(super) fn of(self, channels: Range<usize>) -> Load<'a> {
        let (scale, shift) = (&self.scale[channels.clone()], &self.shift[channels]);
        Load { scale, shift, ..self }
    }

    /// # Errors
    /// There is not one scale and one shift for each channel.
    pub fn check(&self, channels: usize) -> Result<()> {
        check_len("scale", channels, self.scale.len())?;
        check_len("shift", channels, self.shift.len())
    }
}
