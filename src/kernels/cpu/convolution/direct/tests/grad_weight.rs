//! The gradients of weight and bias follow the definition; wrong arguments are errors.

use half::bf16;
use proptest::prelude::*;

use super::super::GradWeight;
use crate::activation::Activation;
use crate::cpu::testing::{each_level, forced, noise, Guarded, Scoped};
use crate::cpu::{Number, Parallel, Serial};
use crate::kernels::cpu::convolution::{Geometry, Load};

struct Case<T> {
    geometry: Geometry,
    x: Guarded<T>,
    grad_y: Guarded<T>,
    load: Option<(Vec<f32>, Vec<f32>, Activation)>,
}

#[derive(Debug, PartialEq)]
struct Outputs {
    grad_weight: Vec<f32>,
    grad_bias: Vec<f32>,
}

impl<T: Number> Case<T> {
    fn new(seed: u64, geometry: Geometry, activation: Option<Activation>) -> Self {
        let channels = geometry.in_channels;
        Case {
            geometry,
            x: Guarded::input(noise(seed * 8, geometry.in_len())),
            grad_y: Guarded::input(noise(seed * 8 + 1, geometry.out_len())),
            load: activation.map(|activation| {
                let scale = noise(seed * 8 + 2, channels).map(|v| 1.0 + v / 2.0).collect();
                (scale, noise(seed * 8 + 3, channels).collect(), activation)
            }),
        }
    }

    fn run(&self, parallel: &dyn Parallel) -> Outputs {
        let geometry = self.geometry;
        let mut grad_weight = Guarded::output(geometry.weight_len());
        let mut grad_bias = Guarded::output(geometry.bias_len());
        let call = GradWeight {
            geometry,
            x: self.x.get(),
            load: self.load.as_ref().map(|(scale, shift, activation)| Load {
                scale,
                shift,
                activation: *activation,
            }),
            grad_y: self.grad_y.get(),
            grad_weight: grad_weight.get_mut(),
            grad_bias: Some(grad_bias.get_mut()),
        };
        call.run(parallel).unwrap();
        let (grad_weight, grad_bias) = (grad_weight.checked(), grad_bias.checked());
        Outputs { grad_weight: grad_weight.to_vec(), grad_bias: grad_bias.to_vec() }
    }

    /// The input of the definition.
    fn loaded(&self) -> Vec<f64> {
        let x = self.x.get().iter().enumerate().map(|(i, x)| {
            let Some((scale, shift, Activation { slope, max })) = &self.load else {
                return x.to_f32();
            };
            let c = i % self.geometry.in_channels;
            let value = x.to_f32().mul_add(scale[c], shift[c]);
            let value = if value > 0.0 { value.min(*max) } else { slope * value };
            T::from_f32(value).to_f32()
        });
        x.map(f64::from).collect()
    }

    /// Compares with the definition. The tolerance depends on the sums of absolute values.
    fn check(&self, got: &Outputs) {
        let g = self.geometry;
        let (x, [height, width]) = (self.loaded(), g.out_size());
        let grad_y: Vec<f64> = self.grad_y.get().iter().map(|v| v.to_f32().into()).collect();
        let mut sums = vec![(0.0, 0.0); g.weight_len()];
        let mut biases = vec![(0.0, 0.0); g.bias_len()];
        let add = |sum: &mut (f64, f64), value: f64| *sum = (sum.0 + value, sum.1 + value.abs());
        for (pixel, grad_y) in grad_y.chunks(g.out_channels).enumerate() {
            let (image, row, column) =
                (pixel / (height * width), pixel / width % height, pixel % width);
            for grad_y in grad_y.chunks(biases.len()) {
                biases.iter_mut().zip(grad_y).for_each(|(sum, value)| add(sum, *value));
            }
            for tap in 0..g.taps() {
                let (tap_row, tap_column) = (tap / g.kernel_size[1], tap % g.kernel_size[1]);
                let at = |d: usize, out: usize, tap: usize| {
                    let place = (out * g.stride[d] + tap * g.dilation[d]).checked_sub(g.padding[d]);
                    place.filter(|&place| place < g.in_size[d])
                };
                let (Some(row), Some(column)) = (at(0, row, tap_row), at(1, column, tap_column))
                else {
                    continue;
                };
                let start = ((image * g.in_size[0] + row) * g.in_size[1] + column) * g.in_channels;
                let Geometry { in_channels, out_channels, .. } = g.of_group();
                for (co, grad_y) in grad_y.iter().enumerate() {
                    let (group, co) = (co / out_channels, co % out_channels);
                    let sums = &mut sums[(co * g.taps() + tap) * in_channels..][..in_channels];
                    let x = &x[start + group * in_channels..][..in_channels];
                    sums.iter_mut().zip(x).for_each(|(sum, x)| add(sum, grad_y * x));
                }
            }
        }
        let pairs = got.grad_weight.iter().zip(&sums).chain(got.grad_bias.iter().zip(&biases));
        for (i, (got, (expected, size))) in pairs.enumerate() {
            // A rounded load may differ by an ulp of bf16 if its multiply and add are fused.
            let tolerance =
                1e-5 * size + if self.load.is_some() { 1e-3 * size.sqrt() } else { 0.0 };
            let error = (*got as f64 - expected).abs();
            assert!(
                error <= tolerance,
                "{g:?}, {i}: got {got}, expected {expected} +- {tolerance}"
            );
        }
    }
}

fn geometry(
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

fn activations() -> impl Strategy<Value = Option<Activation>> {
    let leaky = Activation { slope: 0.1, max: 1.0 };
    let all = [Activation::IDENTITY, Activation::RELU, Activation::RELU6, leaky];
    prop::option::of(prop::sample::select(all.to_vec()))
}

fn geometries() -> impl Strategy<Value = Geometry> {
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
fn shapes() -> Vec<Geometry> {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn f32_follows_the_definition(
        seed in 0u64..1000, geometry in geometries(), activation in activations(),
    ) {
        let case = Case::<f32>::new(seed, geometry, activation);
        case.check(&case.run(&Serial));
    }

    #[test]
    fn bf16_follows_the_definition(
        seed in 0u64..1000, geometry in geometries(), activation in activations(),
    ) {
        let case = Case::<bf16>::new(seed, geometry, activation);
        case.check(&case.run(&Serial));
    }
}

#[test]
fn shapes_of_networks_follow_the_definition() {
    for (seed, shape) in shapes().into_iter().enumerate() {
        let relu = (seed % 2 == 0).then_some(Activation::RELU);
        let case = Case::<f32>::new(seed as u64, shape, relu);
        case.check(&case.run(&Serial));
        let case = Case::<bf16>::new(seed as u64, shape, relu);
        case.check(&case.run(&Serial));
    }
}

#[test]
fn threads_change_nothing() {
    for (seed, shape) in shapes().into_iter().enumerate() {
        let case = Case::<bf16>::new(seed as u64, shape, None);
        assert!(case.run(&Serial) == case.run(&Scoped(3)), "{shape:?}");
    }
}

#[test]
fn every_level_follows_the_definition() {
    let half = |g: Geometry| Geometry { batch: g.batch.min(2), ..g };
    for (seed, shape) in shapes().into_iter().map(half).enumerate() {
        let single = Case::<f32>::new(seed as u64, shape, Some(Activation::RELU6));
        let double = Case::<bf16>::new(seed as u64, shape, Some(Activation::RELU6));
        for level in each_level() {
            single.check(&forced(level, || single.run(&Serial)));
            double.check(&forced(level, || double.run(&Serial)));
        }
    }
}

#[test]
fn a_nan_is_not_hidden() {
    let shape = geometry([2, 16, 16], [8, 8], [3, 3], [1, 1, 1]);
    for activation in [None, Some(Activation::RELU), Some(Activation::RELU6)] {
        let mut case = Case::<bf16>::new(1, shape, activation);
        case.x.get_mut()[16 * 27 + 3] = bf16::NAN;
        let outputs = case.run(&Serial);
        for (i, value) in outputs.grad_weight.iter().enumerate() {
            assert_eq!(value.is_nan(), i % 16 == 3);
        }
    }
}

#[test]
fn wrong_inputs_are_errors() {
    let shape = geometry([2, 4, 6], [5, 5], [3, 3], [1, 0, 1]);
    let right = [2 * 25 * 4, 2 * 9 * 6, 6 * 9 * 4, 6, 4];
    let run = |geometry, lengths: [usize; 5]| {
        let [x, grad_y, grad_weight, grad_bias, scale] = lengths.map(|len| vec![1.0f32; len]);
        let (mut grad_weight, mut grad_bias) = (grad_weight, grad_bias);
        let call = GradWeight {
            geometry,
            x: &x,
            load: Some(Load { scale: &scale, shift: &scale, activation: Activation::RELU }),
            grad_y: &grad_y,
            grad_weight: &mut grad_weight,
            grad_bias: Some(&mut grad_bias),
        };
        call.run(&Serial).map_err(|error| error.to_string())
    };
    run(shape, right).unwrap();
    for (i, name) in ["x", "grad_y", "grad_weight", "grad_bias", "scale"].into_iter().enumerate() {
        let mut lengths = right;
        lengths[i] -= 1;
        let message = run(shape, lengths).unwrap_err();
        assert!(message.starts_with(&format!("{name} must have {}", right[i])), "{message}");
        lengths[i] = 0;
        assert!(run(shape, lengths).is_err(), "{name}");
    }
    for wrong in [Geometry { groups: 2, ..shape }, Geometry { stride: [0, 1], ..shape }] {
        assert!(run(wrong, right).unwrap_err().contains("convolution"));
    }
}
