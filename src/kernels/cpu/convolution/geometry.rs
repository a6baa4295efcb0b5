//! The numbers that a convolution is made of.

use crate::error::{Error, Result};

/// A 2-D convolution over NHWC activations. Pairs are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    pub batch: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub in_size: [usize; 2],
    pub kernel_size: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
}

impl Geometry {
    /// # Errors
    /// Something is zero, the groups do not divide the channels, or the kernel does not fit.
    pub fn check(&self) -> Result<()> {
        let channels = [self.in_channels, self.out_channels, self.groups];
        let positive = channels.into_iter().chain(self.in_size).chain(self.kernel_size);
        let positive = positive.chain(self.stride).chain(self.dilation).chain([self.batch]);
        let fits = |d: usize| self.in_size[d] + 2 * self.padding[d] >= self.reach(d);
        let divided =
            || self.in_channels % self.groups == 0 && self.out_channels % self.groups == 0;
        match positive.clone().all(|size| size > 0) && divided() && fits(0) && fits(1) {
            true => Ok(()),
            false => Err(Error::Geometry { got: format!("{self:?}") }),
        }
    }

    /// How many input pixels the kernel spans.
    fn reach(&self, dim: usize) -> usize {
        self.dilation[dim] * (self.kernel_size[dim] - 1) + 1
    }

    pub fn out_size(&self) -> [usize; 2] {
        [0, 1].map(|d| (self.in_size[d] + 2 * self.padding[d] - self.reach(d)) / self.stride[d] + 1)
    }

    /// Elements of the input, `[batch, height, width, in_channels]`.
    pub fn in_len(&self) -> usize {
        self.batch * self.in_size[0] * self.in_size[1] * self.in_channels
    }

    /// Elements of the output, `[batch, height, width, out_channels]`.
    pub fn out_len(&self) -> usize {
        let [height, width] = self.out_size();
        self.batch * height * width * self.out_channels
    }

    /// Elements of the weight, `[out_channels, kernel height, kernel width, in_channels / groups]`.
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.taps() * (self.in_channels / self.groups)
    }

    /// Places of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel_size[0] * self.kernel_size[1]
    }

    /// Multiplications of the forward, and of each of the two backwards; padding is counted in.
    pub fn macs(&self) -> usize {
        self.out_len() * self.taps() * (self.in_channels / self.groups)
    }

    /// Each channel is convolved with a kernel of its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.in_channels && self.groups == self.out_channels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESNET: Geometry = Geometry {
        batch: 2,
        in_channels: 3,
        out_channels: 64,
        in_size: [224, 223],
        kernel_size: [7, 7],
        stride: [2, 2],
        padding: [3, 3],
        dilation: [1, 1],
        groups: 1,
    };

    #[test]
    fn sizes_are_torchs() {
        assert_eq!(RESNET.out_size(), [112, 112]);
        assert_eq!(Geometry { dilation: [2, 3], ..RESNET }.out_size(), [109, 106]);
        assert_eq!(RESNET.macs(), 2 * 112 * 112 * 64 * 49 * 3);
        assert_eq!(RESNET.weight_len(), 64 * 49 * 3);
    }

    #[test]
    fn nonsense_is_an_error() {
        RESNET.check().unwrap();
        for wrong in [
            Geometry { batch: 0, ..RESNET },
            Geometry { stride: [0, 1], ..RESNET },
            Geometry { groups: 2, ..RESNET },
            Geometry { in_size: [1, 224], padding: [0, 0], ..RESNET },
        ] {
            let message = wrong.check().unwrap_err().to_string();
            assert!(message.contains("convolution"), "{message}");
        }
    }
}
