//! Geometries to test with.

use proptest::prelude::*;

use super::case::Noise;
use crate::activation::Activation;
use crate::kernels::cpu::convolution::Geometry;

pub const SMALL: Geometry = Geometry {
    batch: 2,
    in_channels: 16,
    out_channels: 16,
    in_size: [6, 7],
    kernel_size: [3, 3],
    stride: [1, 1],
    padding: [1, 1],
    dilation: [1, 1],
    groups: 1,
    num_blocks: 1,
};

/// A random geometry whose definition is computed quickly.
pub fn any(noise: &mut Noise) -> Geometry {
    let channels = [1, 2, 3, 5, 8, 15, 16, 17, 24, 31, 32, 33, 40, 49, 64, 70];
    loop {
        let num_blocks = noise.pick(&[1, 1, 1, 1, 2, 3, 4]);
        let mut pair = |from: &[usize]| [noise.pick(from), noise.pick(from)];
        let geometry = Geometry {
            in_size: pair(&[1, 2, 3, 4, 5, 7, 8, 9, 12, 15]),
            kernel_size: pair(&[1, 1, 2, 3, 3, 3, 5, 7]),
            stride: pair(&[1, 1, 1, 2, 2, 3]),
            padding: pair(&[0, 1, 1, 2, 3]),
            dilation: pair(&[1, 1, 1, 2, 3]),
            batch: noise.pick(&[1, 1, 2, 3, 5, 9]),
            in_channels: num_blocks * noise.pick(&channels),
            out_channels: num_blocks * noise.pick(&channels),
            groups: num_blocks,
            num_blocks,
        };
        if geometry.check().is_ok() && geometry.macs() < 600_000 {
            return geometry;
        }
    }
}

/// Shapes of networks, and unusual ones.
pub fn usual() -> Vec<Geometry> {
    vec![
        Geometry { in_size: [32, 32], ..SMALL },
        Geometry { in_channels: 3, in_size: [32, 32], ..SMALL },
        Geometry { out_channels: 32, in_size: [16, 16], stride: [2, 2], ..SMALL },
        Geometry { kernel_size: [1, 1], padding: [0, 0], stride: [2, 2], ..SMALL },
        Geometry { in_channels: 200, out_channels: 300, in_size: [2, 2], batch: 19, ..SMALL },
        Geometry { kernel_size: [7, 7], padding: [3, 3], in_channels: 3, stride: [2, 2], ..SMALL },
        Geometry { padding: [4, 3], ..SMALL },
        Geometry { in_size: [1, 300], ..SMALL },
        Geometry { in_size: [90, 60], batch: 1, ..SMALL },
        Geometry { in_size: [4, 1], stride: [3, 3], padding: [1, 1], ..SMALL },
        Geometry { in_size: [32, 32], groups: 2, num_blocks: 2, ..SMALL },
        Geometry { in_channels: 600, out_channels: 900, groups: 3, num_blocks: 3, ..SMALL },
    ]
}

/// A geometry of one group.
pub fn geometry(
    [batch, in_channels, out_channels]: [usize; 3],
    in_size: [usize; 2],
    kernel_size: [usize; 2],
    [stride, padding, dilation]: [usize; 3],
) -> Geometry {
    Geometry {
        batch,
        in_channels,
        out_channels,
        in_size,
        kernel_size,
        stride: [stride; 2],
        padding: [padding; 2],
        dilation: [dilation; 2],
        groups: 1,
        num_blocks: 1,
    }
}

/// A load or none.
pub fn activations() -> impl Strategy<Value = Option<Activation>> {
    let leaky = Activation { slope: 0.1, max: 1.0 };
    let all = [Activation::IDENTITY, Activation::RELU, Activation::RELU6, leaky];
    prop::option::of(prop::sample::select(all.to_vec()))
}

pub fn geometries() -> impl Strategy<Value = Geometry> {
    let channels = || prop_oneof![1usize..5, 1usize..40, Just(16usize), Just(48), Just(80)];
    let two = |range: std::ops::Range<usize>| [range.clone(), range];
    let pairs = (two(1..14), two(1..6), two(1..4), two(0..4), two(1..4));
    let blocks = prop_oneof![4 => Just(1usize), 1 => 2usize..5];
    (1usize..5, channels(), channels(), blocks, pairs).prop_filter_map("fits", |case| {
        let (batch, in_channels, out_channels, num_blocks, pairs) = case;
        let (in_size, kernel_size, stride, padding, dilation) = pairs;
        let geometry = Geometry {
            batch,
            in_channels: num_blocks * in_channels,
            out_channels: num_blocks * out_channels,
            in_size,
            kernel_size,
            stride,
            padding,
            dilation,
            groups: num_blocks,
            num_blocks,
        };
        geometry.check().is_ok().then_some(geometry)
    })
}

/// The same convolution in blocks that share a weight.
fn tied(geometry: Geometry, num_blocks: usize) -> Geometry {
    Geometry { groups: num_blocks, num_blocks, ..geometry }
}

/// Shapes of networks, and shapes with tails, many strips, joined rows and joined images.
pub fn shapes() -> Vec<Geometry> {
    let square = |n| [n, n];
    vec![
        geometry([3, 16, 16], square(32), square(3), [1, 1, 1]),
        geometry([5, 32, 32], square(16), square(3), [1, 1, 1]),
        geometry([9, 64, 64], square(8), square(3), [1, 1, 1]),
        geometry([3, 16, 32], square(32), square(3), [2, 1, 1]),
        geometry([3, 16, 32], square(32), square(1), [2, 0, 1]),
        geometry([3, 3, 16], square(32), square(3), [1, 1, 1]),
        geometry([2, 3, 20], [31, 37], square(7), [2, 3, 1]),
        geometry([30, 96, 72], square(2), square(3), [1, 1, 1]),
        geometry([70, 64, 40], square(1), square(1), [1, 0, 1]),
        geometry([7, 24, 100], square(7), square(1), [1, 0, 1]),
        geometry([2, 33, 17], [40, 70], square(1), [1, 0, 1]),
        geometry([1, 17, 9], [300, 3], [5, 1], [1, 2, 1]),
        geometry([1, 1, 1], square(1), square(3), [1, 1, 1]),
        geometry([2, 20, 8], [9, 450], square(3), [1, 1, 1]),
        geometry([1, 5, 7], [9, 450], square(3), [3, 2, 2]),
        tied(geometry([3, 16, 16], square(32), square(3), [1, 1, 1]), 2),
        tied(geometry([5, 64, 64], square(8), square(3), [1, 1, 1]), 4),
        tied(geometry([3, 64, 96], square(16), square(1), [2, 0, 1]), 2),
    ]
}
