//! Random convolutions, and the definition.

use ndarray::{Array1, Array3, Array4};
use proptest::prelude::*;

use crate::weights::{Convolution, Geometry, Pair};

/// Numbers that look random.
pub fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut i = 0;
    move || {
        i += 1;
        ((i * 7919 + seed * 104_729 + 13) as f64 * 0.618_034).sin()
    }
}

fn pair(range: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Pair> {
    [range.clone(), range]
}

/// A convolution with these channels; the groups divide both.
pub fn conv(inputs: usize, outputs: usize) -> impl Strategy<Value = Convolution> {
    let groups = (1..=inputs)
        .filter(|g| inputs.is_multiple_of(*g) && outputs.is_multiple_of(*g))
        .collect::<Vec<_>>();
    let sizes = (pair(1..=3), pair(1..=2), pair(0..=2), pair(1..=2));
    (sizes, prop::sample::select(groups), any::<bool>(), any::<u64>()).prop_map(
        move |((kernel_size, stride, padding, dilation), groups, bias, seed)| {
            let geometry = Geometry {
                out_channels: outputs,
                kernel_size,
                stride,
                padding,
                dilation,
                groups,
                ..Geometry::pointwise(inputs, bias)
            };
            filled(geometry, seed % 1000)
        },
    )
}

/// A convolution with random numbers.
pub fn filled(geometry: Geometry, seed: u64) -> Convolution {
    let Geometry { out_channels, in_channels, groups, kernel_size: [height, width], .. } = geometry;
    let shape = (out_channels, in_channels / groups, height, width);
    let weight = Array4::from_shape_simple_fn(shape, noise(seed));
    let mut value = noise(seed + 1);
    let bias =
        Array1::from_shape_simple_fn(out_channels, || value() * f64::from(geometry.bias as u8));
    Convolution::new(geometry, weight, bias, None).unwrap()
}

/// The size of the result, if the kernel fits into the padded image.
pub fn size(geometry: &Geometry, image: Pair) -> Option<Pair> {
    let along = |dim: usize| {
        let room = (image[dim] + 2 * geometry.padding[dim]).checked_sub(geometry.reach(dim) + 1)?;
        Some(room / geometry.stride[dim] + 1)
    };
    Some([along(0)?, along(1)?])
}

/// The definition: what `convolution` makes of an image `[channels, height, width]`.
pub fn apply(convolution: &Convolution, x: &Array3<f64>) -> Array3<f64> {
    let geometry = convolution.geometry();
    let (_, height, width) = x.dim();
    let [rows, columns] = size(geometry, [height, width]).unwrap();
    let (outputs, inputs, tall, wide) = convolution.weight().dim();
    let block = outputs / geometry.groups;
    Array3::from_shape_fn((outputs, rows, columns), |(output, p, q)| {
        let mut sum = convolution.bias()[output];
        for (i, j) in (0..tall).flat_map(|i| (0..wide).map(move |j| (i, j))) {
            let at = |dim: usize, pixel: usize, tap: usize, end: usize| {
                let from = pixel * geometry.stride[dim] + tap * geometry.dilation[dim];
                from.checked_sub(geometry.padding[dim]).filter(|from| *from < end)
            };
            if let (Some(y), Some(x_at)) = (at(0, p, i, height), at(1, q, j, width)) {
                for input in 0..inputs {
                    let channel = output / block * inputs + input;
                    sum += convolution.weight()[[output, input, i, j]] * x[[channel, y, x_at]];
                }
                sum += convolution.border().map_or(0.0, |border| border[[output, 0, i, j]]);
            }
        }
        sum
    })
}

/// The largest difference, except in the frame.
pub fn difference(found: &Array3<f64>, expected: &Array3<f64>, frame: Pair) -> f64 {
    assert_eq!(found.dim(), expected.dim());
    let (_, height, width) = found.dim();
    let inside = |at: usize, frame: usize, end: usize| at >= frame && at + frame < end;
    let mut largest: f64 = 0.0;
    for ((channel, y, x), value) in found.indexed_iter() {
        if inside(y, frame[0], height) && inside(x, frame[1], width) {
            largest = largest.max((value - expected[[channel, y, x]]).abs());
        }
    }
    largest
}
