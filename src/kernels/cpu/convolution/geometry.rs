//! The shape of a convolution.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A 2-D convolution over NHWC activations. Pairs are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// The number of blocks of groups. All blocks share one weight and one bias.
    pub num_blocks: usize,
}

/// The sizes by torch's names.
impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Geometry { batch, in_channels, out_channels, groups, .. } = self;
        write!(f, "batch {batch}, in_channels {in_channels}, out_channels {out_channels}")?;
        for (name, [vertical, horizontal]) in [
            ("size", self.in_size),
            ("kernel_size", self.kernel_size),
            ("stride", self.stride),
            ("padding", self.padding),
            ("dilation", self.dilation),
        ] {
            write!(f, ", {name} {vertical}x{horizontal}")?;
        }
        write!(f, ", groups {groups}")?;
        match self.num_blocks {
            1 => Ok(()),
            blocks => write!(f, " in {blocks} blocks of one weight"),
        }
    }
}

impl Geometry {
    /// # Errors
    /// A size is zero, the channels are not divisible by the groups, the groups are not divisible
    /// by the blocks, or the kernel is larger than the padded input.
    pub fn check(&self) -> Result<()> {
        let channels = [self.in_channels, self.out_channels, self.groups, self.num_blocks];
        let positive = channels.into_iter().chain(self.in_size).chain(self.kernel_size);
        let positive = positive.chain(self.stride).chain(self.dilation).chain([self.batch]);
        let fits = |d: usize| self.in_size[d] + 2 * self.padding[d] >= self.reach(d);
        let divided = || {
            self.in_channels.is_multiple_of(self.groups)
                && self.out_channels.is_multiple_of(self.groups)
                && self.groups.is_multiple_of(self.num_blocks)
        };
        match positive.clone().all(|size| size > 0) && divided() && fits(0) && fits(1) {
            true => Ok(()),
            false => Err(Error::Geometry { got: self.to_string() }),
        }
    }

    /// Number of input pixels that the kernel spans.
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

    /// Elements of the weight, `[out_channels / num_blocks, kernel height, kernel width,
    /// in_channels / groups]`.
    pub fn weight_len(&self) -> usize {
        self.bias_len() * self.taps() * (self.in_channels / self.groups)
    }

    /// Elements of the bias, `[out_channels / num_blocks]`.
    pub fn bias_len(&self) -> usize {
        self.out_channels / self.num_blocks
    }

    /// Number of weights of a kernel, for one input and one output channel.
    pub fn taps(&self) -> usize {
        self.kernel_size[0] * self.kernel_size[1]
    }

    /// Multiplications of each of the three passes, including those with padding.
    pub fn macs(&self) -> usize {
        self.out_len() * self.taps() * (self.in_channels / self.groups)
    }

    /// Whether each channel is convolved with a kernel of its own.
    pub fn is_depthwise(&self) -> bool {
        let each = self.groups == self.in_channels && self.groups == self.out_channels;
        each && self.num_blocks == 1
    }

    /// Whether all groups have the same weight, for example because there is one group.
    pub fn has_one_weight(&self) -> bool {
        self.groups == self.num_blocks
    }

    /// The geometry of one group.
    pub fn of_group(&self) -> Geometry {
        Geometry {
            in_channels: self.in_channels / self.groups,
            out_channels: self.out_channels / self.groups,
            groups: 1,
            num_blocks: 1,
            ..*self
        }
    }

    /// The same with some rows of the image joined, which a 1x1 convolution without stride and
    /// padding does not distinguish.
    pub(super) fn joined_rows(&self) -> Geometry {
        const PIXELS: usize = 512;
        let [height, width] = self.in_size;
        if self.taps() > 1 || self.stride != [1, 1] || self.padding != [0, 0] {
            return *self;
        }
        let joined = (1..=height).rev().find(|rows| height % rows == 0 && rows * width <= PIXELS);
        let joined = joined.unwrap_or(1);
        Geometry { in_size: [height / joined, width * joined], ..*self }
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
        num_blocks: 1,
    };

    #[test]
    fn sizes_are_torchs() {
        assert_eq!(RESNET.out_size(), [112, 112]);
        assert_eq!(Geometry { dilation: [2, 3], ..RESNET }.out_size(), [109, 106]);
        assert_eq!(RESNET.macs(), 2 * 112 * 112 * 64 * 49 * 3);
        assert_eq!(RESNET.weight_len(), 64 * 49 * 3);
    }

    #[test]
    fn blocks_share_a_weight() {
        let tied = Geometry { in_channels: 24, groups: 4, num_blocks: 2, ..RESNET };
        assert_eq!((tied.weight_len(), tied.bias_len()), (32 * 49 * 6, 32));
        assert_eq!(tied.macs(), 2 * 112 * 112 * 64 * 49 * 6);
        assert!(!tied.has_one_weight());
        assert_eq!(tied.of_group(), Geometry { in_channels: 6, out_channels: 16, ..RESNET });
    }

    #[test]
    fn nonsense_is_an_error() {
        RESNET.check().unwrap();
        for wrong in [
            Geometry { batch: 0, ..RESNET },
            Geometry { stride: [0, 1], ..RESNET },
            Geometry { groups: 2, ..RESNET },
            Geometry { num_blocks: 2, ..RESNET },
            Geometry { num_blocks: 0, ..RESNET },
            Geometry { in_size: [1, 224], padding: [0, 0], ..RESNET },
        ] {
            let message = wrong.check().unwrap_err().to_string();
            assert!(message.contains("convolution"), "{message}");
        }
    }
}
