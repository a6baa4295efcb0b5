//! How a product sees its source.

use super::words::Words;
use crate::kernels::cpu::convolution::{Geometry, Operand};

/// Channels up to which the columns of the kernel are folded into them.
const FEW: usize = 4;

/// The pixels of a row of the source: pixel `i` has the `channels` elements from
/// `origin + i * pixel` on, as far as they lie in the row; others are zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// Elements of a row, up to the last of its last pixel; and from row to row.
    pub row: usize,
    pub line: usize,
    pub pixel: usize,
    pub origin: isize,
    pub channels: usize,
}

/// The convolution that a product computes, of one group, and how it sees its source from that
/// group's first channel on.
///
/// With few channels, as those of an image, a pixel of the source is taken to be all that the
/// kernel sees in a row: its columns become channels, and fewer words hold zeros.
pub(super) fn view(geometry: &Geometry, operand: Operand, per_word: usize) -> (Geometry, View) {
    let (pixel, width) = match operand {
        Operand::Forward => (geometry.in_channels, geometry.in_size[1]),
        Operand::GradInput => (geometry.out_channels, geometry.out_size()[1]),
    };
    let (channels, line) = (pixel / geometry.groups, pixel * width);
    let row = line - pixel + channels;
    // The neighbors of a group's channels are other groups'.
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
    let all = |channels: usize| {
        let Words { planes, words } = Words::new(channels, per_word);
        planes * words
    };
    channels <= FEW
        && columns > 1
        && geometry.dilation[1] == 1
        && all(channels * columns) <= columns * all(channels)
}
