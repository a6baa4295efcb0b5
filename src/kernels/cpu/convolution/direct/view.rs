//! The source of a correlation, as rows of pixels with a number of channels.

use super::words::Words;
use crate::kernels::cpu::convolution::{Geometry, Operand};

/// With at most so many channels, the columns of the kernel are folded into the channels.
const FEW: usize = 4;

/// The pixels of a row of the source. Pixel `i` has the `channels` elements from
/// `origin + i * pixel` on; those outside the row are zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// Elements from the first of a row to the last of its last pixel.
    pub row: usize,
    /// Elements from row to row.
    pub line: usize,
    /// Elements from pixel to pixel.
    pub pixel: usize,
    pub origin: isize,
    pub channels: usize,
}

/// The convolution of one group that a correlation computes, and the view of its source from the
/// group's first channel on.
///
/// With few channels, as in an image, a pixel of the view is all that the kernel reads of a row:
/// the columns of the kernel become channels, so that fewer words hold zeros.
pub(super) fn view(geometry: &Geometry, operand: Operand, per_word: usize) -> (Geometry, View) {
    let (pixel, width) = match operand {
        Operand::Forward => (geometry.in_channels, geometry.in_size[1]),
        Operand::GradInput => (geometry.out_channels, geometry.out_size()[1]),
    };
    let (channels, line) = (pixel / geometry.groups, pixel * width);
    let row = line - pixel + channels;
    // Next to the channels of a group are those of another group, so groups cannot be folded.
    let folded = operand == Operand::Forward && geometry.groups == 1 && folds(geometry, per_word);
    if !folded {
        return (geometry.of_group(), View { row, line, pixel, origin: 0, channels });
    }
    let in_channels = channels * geometry.kernel_size[1];
    let folded = Geometry {
        in_channels,
        in_size: [geometry.in_size[0], geometry.out_size()[1]],
        kernel_size: [geometry.kernel_size[0], 1],
        stride: [geometry.stride[0], 1],
        padding: [geometry.padding[0], 0],
        dilation: [geometry.dilation[0], 1],
        ..*geometry
    };
    let pixel = geometry.stride[1] * channels;
    let origin = -((geometry.padding[1] * channels) as isize);
    (folded, View { row, line, pixel, origin, channels: in_channels })
}

fn folds(geometry: &Geometry, per_word: usize) -> bool {
    let (channels, columns) = (geometry.in_channels, geometry.kernel_size[1]);
    let all = |channels: usize| Words::new(channels, per_word).all();
    channels <= FEW
        && columns > 1
        && geometry.dilation[1] == 1
        && all(channels * columns) <= columns * all(channels)
}
