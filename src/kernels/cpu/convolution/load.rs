//! A batch norm that is applied to the input of a convolution as it is read.

use std::ops::Range;

use crate::activation::Activation;
use crate::cpu::check_len;
use crate::error::Result;

/// `x` is read as `activation(scale * x + shift)`, rounded to the type that is multiplied. Padding
/// stays zero.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// `[in_channels]`
    pub scale: &'a [f32],
    /// `[in_channels]`
    pub shift: &'a [f32],
    pub activation: Activation,
}

impl<'a> Load<'a> {
    /// The load of a range of the channels.
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
