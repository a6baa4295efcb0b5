use ndarray::{Array1, Array3};
use proptest::prelude::*;

use super::case::{apply, conv, difference, filled, noise, size};
use crate::weights::{Convolution, Geometry, Pair};

const TOLERANCE: f64 = 1e-10;

fn image(channels: usize, size: Pair) -> Array3<f64> {
    Array3::from_shape_simple_fn((channels, size[0], size[1]), noise(5))
}

/// Three numbers of channels that have common divisors.
fn channels() -> impl Strategy<Value = [usize; 4]> {
    [1..=2usize, 1..=2usize, 1..=2usize, 1..=2usize].prop_map(|counts| counts.map(|c| 2 * c))
}

/// A convolution and the next two, in which the last may be merged with the second before.
fn chain() -> impl Strategy<Value = Vec<Convolution>> {
    channels().prop_flat_map(|[a, b, c, d]| {
        (conv(a, b), conv(b, c), conv(c, d)).prop_map(|(x, y, z)| vec![x, y, z])
    })
}

fn pixels() -> impl Strategy<Value = Pair> {
    [3..=7usize, 3..=7usize]
}

/// Whether all convolutions of a chain have a result.
fn fits(chain: &[Convolution], pixels: Pair) -> bool {
    chain.iter().try_fold(pixels, |pixels, conv| size(conv.geometry(), pixels)).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_is_one_convolution(chain in chain(), pixels in pixels(), right in any::<bool>()) {
        prop_assume!(fits(&chain, pixels));
        let [first, second, third] = &chain[..] else { unreachable!() };
        let merged = if right {
            first.then(&second.then(third).unwrap()).unwrap()
        } else {
            first.then(second).unwrap().then(third).unwrap()
        };
        let x = image(first.geometry().in_channels, pixels);
        let expected = chain.iter().fold(x.clone(), |x, conv| apply(conv, &x));
        let error = difference(&apply(&merged, &x), &expected, merged.geometry().frame);
        prop_assert!(error < TOLERANCE, "{error} {:?}", merged.geometry());
    }

    #[test]
    fn pointwise_convolutions_need_no_frame(
        [a, b, c, d] in channels(), kernel in [1..=3usize, 1..=3usize], pixels in pixels(),
        stride in [1..=2usize, 1..=2usize], padding in [0..=2usize, 0..=2usize], seed in 0..1000u64,
    ) {
        let one = |inputs, outputs| Geometry {
            out_channels: outputs, groups: 1, ..Geometry::pointwise(inputs, true)
        };
        let spatial = Geometry { kernel_size: kernel, stride, padding, ..one(b, c) };
        let strided = Geometry { stride, ..one(a, b) };
        let chain = [strided, spatial, one(c, d)].map(|geometry| filled(geometry, seed));
        prop_assume!(fits(&chain, pixels));
        let merged = chain[0].then(&chain[1]).unwrap().then(&chain[2]).unwrap();
        prop_assert_eq!(merged.geometry().frame, [0, 0]);
        let x = image(a, pixels);
        let expected = chain.iter().fold(x.clone(), |x, conv| apply(conv, &x));
        prop_assert!(difference(&apply(&merged, &x), &expected, [0, 0]) < TOLERANCE);
    }

    #[test]
    fn a_norm_after_a_convolution_is_folded_exactly(
        conv in channels().prop_flat_map(|[a, b, ..]| conv(a, b)), pixels in pixels(),
    ) {
        prop_assume!(fits(std::slice::from_ref(&conv), pixels));
        let norm = norm(conv.geometry().out_channels);
        let folded = conv.then(&norm).unwrap();
        prop_assert_eq!(folded.geometry().groups, conv.geometry().groups);
        prop_assert_eq!(folded.geometry().kernel_size, conv.geometry().kernel_size);
        let x = image(conv.geometry().in_channels, pixels);
        let expected = apply(&norm, &apply(&conv, &x));
        prop_assert!(difference(&apply(&folded, &x), &expected, [0, 0]) < TOLERANCE);
    }

    #[test]
    fn a_norm_before_a_convolution_is_folded_exactly(
        conv in channels().prop_flat_map(|[a, b, ..]| conv(a, b)), pixels in pixels(),
    ) {
        prop_assume!(fits(std::slice::from_ref(&conv), pixels));
        let norm = norm(conv.geometry().in_channels);
        let folded = norm.then(&conv).unwrap();
        prop_assert_eq!(folded.geometry().groups, conv.geometry().groups);
        prop_assert_eq!(folded.geometry().border, conv.geometry().padding != [0, 0]);
        let x = image(conv.geometry().in_channels, pixels);
        let expected = apply(&conv, &apply(&norm, &x));
        prop_assert!(difference(&apply(&folded, &x), &expected, [0, 0]) < TOLERANCE);
    }

    #[test]
    fn branches_are_one_convolution(
        [inputs, outputs, ..] in channels(), seed in 0..1000u64, groups in [1..=2usize, 1..=2usize],
        radius in [0..=2usize, 0..=2usize], dilation in [1..=2usize, 1..=2usize],
        extra in 0..=1usize, stride in 1..=2usize, pixels in pixels(),
    ) {
        let branches = [0, 1].map(|i| {
            let geometry = Geometry {
                out_channels: outputs, groups: groups[i], stride: [stride; 2],
                kernel_size: [2 * radius[i] + 1, 2 * radius[1 - i] + 1],
                padding: [radius[i] * dilation[i] + extra, radius[1 - i] * dilation[i] + extra],
                dilation: [dilation[i]; 2], ..Geometry::pointwise(inputs, true)
            };
            norm(inputs).then(&filled(geometry, seed + i as u64)).unwrap()
        });
        let sum = branches[0].beside(&branches[1]).unwrap();
        let x = image(inputs, pixels);
        let expected = apply(&branches[0], &x) + apply(&branches[1], &x);
        prop_assert!(difference(&apply(&sum, &x), &expected, [0, 0]) < TOLERANCE);
    }
}

fn norm(channels: usize) -> Convolution {
    let [mut scale, mut shift] = [noise(1), noise(2)].map(Box::new);
    let scale = Array1::from_shape_simple_fn(channels, &mut scale);
    Convolution::norm(scale.view(), Array1::from_shape_simple_fn(channels, &mut shift).view())
        .unwrap()
}

#[test]
fn a_depthwise_kernel_with_an_identity_beside_stays_depthwise() {
    let depthwise =
        Geometry { kernel_size: [3; 2], padding: [1; 2], ..Geometry::pointwise(4, true) };
    let sum = filled(depthwise, 0).beside(&Convolution::identity(4).unwrap()).unwrap();
    assert_eq!(sum.geometry().groups, 4);
    let x = image(4, [5, 6]);
    let expected = apply(&filled(depthwise, 0), &x) + &x;
    assert!(difference(&apply(&sum, &x), &expected, [0; 2]) < TOLERANCE);
}

#[test]
fn the_frame_is_as_wide_as_what_is_wrong() {
    let three = Geometry {
        groups: 1,
        kernel_size: [3; 2],
        padding: [1; 2],
        ..Geometry::pointwise(2, false)
    };
    let (first, second) = (filled(three, 0), filled(three, 1));
    let merged = first.then(&second).unwrap();
    let x = image(2, [7, 7]);
    let expected = apply(&second, &apply(&first, &x));
    assert!(difference(&apply(&merged, &x), &expected, [0; 2]) > 0.1);
    assert!(difference(&apply(&merged, &x), &expected, [1; 2]) < TOLERANCE);
}

#[test]
fn arrays_of_another_shape_are_refused() {
    let geometry = Geometry::pointwise(3, true);
    let conv = filled(geometry, 0);
    let other = Convolution::new(geometry, conv.weight().clone(), Array1::zeros(2), None);
    assert!(other.unwrap_err().to_string().contains("a bias (3,)"));
}
