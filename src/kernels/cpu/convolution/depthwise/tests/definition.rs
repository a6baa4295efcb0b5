//! All passes follow the definition; wrong arguments are errors.

use half::bf16;
use proptest::prelude::*;

use super::super::Forward;
use super::case::{check_moments, Case};
use crate::activation::Activation;
use crate::cpu::testing::{each_level, forced, Guarded, Scoped};
use crate::cpu::Serial;
use crate::kernels::cpu::convolution::Geometry;

fn geometry(channels: usize, in_size: [usize; 2], kernel_size: [usize; 2]) -> Geometry {
    Geometry {
        batch: 2,
        in_channels: channels,
        out_channels: channels,
        in_size,
        kernel_size,
        stride: [1; 2],
        padding: kernel_size.map(|size| size / 2),
        dilation: [1; 2],
        groups: channels,
        num_blocks: 1,
    }
}

const LEAKY: Activation = Activation { slope: 0.1, max: 0.5 };

fn activations() -> impl Strategy<Value = Activation> {
    let steep = Activation { slope: 2.0, max: f32::INFINITY };
    let all = [Activation::IDENTITY, Activation::RELU, Activation::RELU6, LEAKY, steep];
    prop::sample::select(all.to_vec())
}

/// Geometries with an image that the kernel fits into.
fn geometries() -> impl Strategy<Value = Geometry> {
    let pair = |range: std::ops::Range<usize>| [range.clone(), range];
    let sizes = (pair(1..24), pair(1..8), pair(1..4), pair(0..5), pair(1..4));
    let channels = prop::sample::select(vec![1, 2, 3, 5, 15, 16, 17, 24, 31, 32, 33, 48, 70]);
    (1usize..4, channels, sizes)
        .prop_map(|(batch, channels, (in_size, kernel_size, stride, padding, dilation))| Geometry {
            batch,
            in_channels: channels,
            out_channels: channels,
            in_size,
            kernel_size,
            stride,
            padding,
            dilation,
            groups: channels,
            num_blocks: 1,
        })
        .prop_filter("the kernel fits", |geometry| geometry.check().is_ok())
}

/// Usual kernels, which have microkernels of their own.
fn usual() -> impl Strategy<Value = Geometry> {
    let kernel = prop::sample::select(vec![1usize, 2, 3, 5, 7]);
    (geometries(), kernel, 1usize..3, 0usize..4).prop_map(|(geometry, kernel, stride, padding)| {
        let padding = padding.max(kernel / 2);
        let (stride, padding) = ([stride; 2], [padding; 2]);
        let mut in_size = geometry.in_size;
        in_size[1] += 10;
        Geometry {
            in_size,
            kernel_size: [kernel; 2],
            stride,
            padding,
            dilation: [1; 2],
            ..geometry
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_kernel_follows_the_definition(
        seed in 0u64..1000, geometry in geometries(), extras: bool, activation in activations(),
    ) {
        let case = Case::<f32>::new(seed, geometry, extras, activation);
        case.check(&case.run(&Serial), 1e-6);
        let case = Case::<bf16>::new(seed, geometry, extras, activation);
        case.check(&case.run(&Serial), 1.0 / 256.0);
    }

    #[test]
    fn usual_kernels_follow_the_definition(
        seed in 0u64..1000, geometry in usual(), extras: bool, activation in activations(),
    ) {
        let case = Case::<f32>::new(seed, geometry, extras, activation);
        case.check(&case.run(&Serial), 1e-6);
        let case = Case::<bf16>::new(seed, geometry, extras, activation);
        case.check(&case.run(&Serial), 1.0 / 256.0);
    }

    #[test]
    fn threads_change_nothing(seed in 0u64..1000, geometry in usual()) {
        let geometry = Geometry { batch: 20, ..geometry };
        let case = Case::<bf16>::new(seed, geometry, true, LEAKY);
        prop_assert!(case.run(&Serial) == case.run(&Scoped(3)));
    }
}

#[test]
fn every_level_follows_the_definition() {
    for (channels, kernel, stride) in [(17, 3, 1), (3, 3, 1), (32, 3, 2), (16, 5, 1), (40, 5, 2)] {
        let stride = [stride; 2];
        let geometry = Geometry { stride, ..geometry(channels, [9, 21], [kernel; 2]) };
        let single = Case::<f32>::new(1, geometry, true, LEAKY);
        let half = Case::<bf16>::new(2, geometry, true, Activation::IDENTITY);
        for level in each_level() {
            single.check(&forced(level, || single.run(&Serial)), 1e-6);
            half.check(&forced(level, || half.run(&Serial)), 1.0 / 256.0);
        }
    }
}

#[test]
fn many_tasks_follow_the_definition() {
    for (channels, size, stride) in [(96, 32, 2), (144, 16, 1), (960, 2, 1), (17, 40, 1)] {
        let stride = [stride; 2];
        let geometry = Geometry { batch: 8, stride, ..geometry(channels, [size; 2], [3; 2]) };
        let case = Case::<bf16>::new(3, geometry, true, Activation::RELU6);
        case.check(&case.run(&Scoped(3)), 1.0 / 256.0);
    }
}

#[test]
fn the_kernel_may_be_larger_than_the_image() {
    for (size, kernel, padding) in [([1, 1], 3, 1), ([2, 1], 5, 2), ([2, 2], 7, 3), ([3, 3], 5, 4)]
    {
        let padding = [padding; 2];
        let geometry = Geometry { padding, ..geometry(33, size, [kernel; 2]) };
        let case = Case::<f32>::new(4, geometry, false, Activation::IDENTITY);
        case.check(&case.run(&Serial), 1e-6);
    }
}

#[test]
fn large_means_keep_their_digits() {
    let mut case = Case::<f32>::new(5, geometry(20, [40, 40], [3; 2]), true, Activation::IDENTITY);
    case.bias = Some(Guarded::input((0..20).map(|c| 1e4 * c as f32)));
    let got = case.run(&Scoped(2));
    check_moments(got.moments.as_ref().unwrap(), &got.y, 20);
}

#[test]
fn a_nan_is_not_hidden() {
    for activation in [Activation::IDENTITY, Activation::RELU, Activation::RELU6, LEAKY] {
        let mut case = Case::<bf16>::new(6, geometry(18, [12, 12], [3; 2]), false, activation);
        case.x.get_mut()[(5 * 12 + 5) * 18 + 17] = bf16::NAN;
        let y = case.run(&Serial).y;
        for (i, y) in y.iter().enumerate() {
            let (row, column) = (i / 18 / 12, i / 18 % 12);
            let near = (4..7).contains(&row) && (4..7).contains(&column);
            assert_eq!(y.is_nan(), near && i % 18 == 17, "{row} {column}");
        }
    }
}

#[test]
fn wrong_inputs_are_errors() {
    let right = geometry(4, [5, 5], [3; 2]);
    let run = |geometry: Geometry, weight: &[f32], bias: &[f32], statistics: bool| {
        let (x, mut y) = (vec![0.0f32; 200], vec![9.0f32; 200]);
        let (scale, bias, activation) = (None, Some(bias), Activation::RELU);
        let (x, y) = (&x[..], &mut y[..]);
        let forward = Forward { geometry, x, weight, scale, bias, activation, statistics, y };
        forward.run(&Serial).map_err(|error| error.to_string())
    };
    assert!(run(right, &[0.0; 36], &[0.0; 4], false).unwrap().is_none());
    assert!(run(right, &[0.0; 36], &[0.0; 4], true).unwrap().is_some());
    let message = |geometry, weight, bias| run(geometry, weight, bias, true).unwrap_err();
    assert!(message(right, &[0.0; 35], &[0.0; 4]).contains("weight must have 36 elements, got 35"));
    assert!(message(right, &[0.0; 36], &[0.0; 5]).contains("bias must have 4"));
    let larger = Geometry { in_size: [6, 5], ..right };
    assert!(message(larger, &[0.0; 36], &[0.0; 4]).contains("x must have 240"));
    let narrower = Geometry { padding: [1, 0], ..right };
    assert!(message(narrower, &[0.0; 36], &[0.0; 4]).contains("y must have 120"));
    for wrong in [
        Geometry { groups: 1, ..right },
        Geometry { out_channels: 8, ..right },
        Geometry { stride: [0, 1], ..right },
        Geometry { padding: [usize::MAX / 2 + 1, 1], ..right },
        Geometry { batch: 1 << 29, in_size: [1 << 29, 1 << 29], ..right },
    ] {
        assert!(message(wrong, &[0.0; 36], &[0.0; 4]).contains("convolution"), "{wrong:?}");
    }
}
