//! The shape of a correlation.

use crate::cpu::LANES;
use crate::kernels::cpu::convolution::Geometry;

/// A 3x3 correlation over padded NHWC images.
#[derive(Clone, Copy)]
pub(in super::super) struct Shape {
    pub batch: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub in_size: [usize; 2],
    pub out_size: [usize; 2],
    pub padding: [usize; 2],
}

impl Shape {
    /// The forward of a convolution.
    pub(in super::super) fn forward(geometry: &Geometry) -> Shape {
        Shape {
            batch: geometry.batch,
            in_channels: geometry.in_channels,
            out_channels: geometry.out_channels,
            in_size: geometry.in_size,
            out_size: geometry.out_size(),
            padding: geometry.padding,
        }
    }

    /// The gradient of its input.
    pub(in super::super) fn grad_input(geometry: &Geometry) -> Shape {
        Shape {
            batch: geometry.batch,
            in_channels: geometry.out_channels,
            out_channels: geometry.in_channels,
            in_size: geometry.out_size(),
            out_size: geometry.in_size,
            padding: geometry.padding.map(|padding| 2 - padding),
        }
    }

    /// Rows and columns of tiles of an image.
    #[inline(always)]
    pub(super) fn tiles(&self) -> [usize; 2] {
        self.out_size.map(|size| size.div_ceil(2))
    }

    /// Groups of 16 input channels.
    pub(super) fn in_groups(&self) -> usize {
        self.in_channels.div_ceil(LANES)
    }

    /// Vectors of 16 output channels.
    pub(super) fn out_vectors(&self) -> usize {
        self.out_channels.div_ceil(LANES)
    }
}
