//! The kernels against the definition in f64.

use half::bf16;
use proptest::prelude::*;

use super::{Forward, GradInput, GradWeight};
use crate::kernels::cpu::batch_norm::Moments;
use crate::kernels::cpu::convolution::Geometry;
use crate::kernels::cpu::parallel::{Parallel, Scoped, Serial};
use crate::kernels::cpu::simd::{each_level, forced, Number};
use crate::kernels::cpu::Activation;

/// Around every slice: inputs have NaN there, outputs something to be found untouched.
const RIM: usize = 21;
const UNTOUCHED: f32 = 12345.0;

/// Numbers between -1 and 1 that look random.
fn noise(seed: u64, len: usize) -> impl Iterator<Item = f32> {
    (0..len as u64).map(move |i| {
        let mut z = (seed << 32 ^ i).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    })
}

/// A slice in the middle of a longer one.
#[derive(Clone)]
struct Rimmed<T>(Vec<T>);

impl<T: Number> Rimmed<T> {
    fn new(rim: f32, values: impl Iterator<Item = f32>) -> Self {
        let rim = || std::iter::repeat_n(rim, RIM);
        Rimmed(rim().chain(values).chain(rim()).map(T::from_f32).collect())
    }

    fn input(values: impl Iterator<Item = f32>) -> Self {
        Rimmed::new(f32::NAN, values)
    }

    fn output(len: usize) -> Self {
        Rimmed::new(UNTOUCHED, std::iter::repeat_n(f32::NAN, len))
    }

    fn slice(&self) -> &[T] {
        &self.0[RIM..self.0.len() - RIM]
    }

    fn slice_mut(&mut self) -> &mut [T] {
        let end = self.0.len() - RIM;
        &mut self.0[RIM..end]
    }

    /// The slice as f32, if the rim is as it was.
    fn written(self) -> Vec<f32> {
        let rim = self.0[..RIM].iter().chain(&self.0[self.0.len() - RIM..]);
        let expected = T::from_f32(UNTOUCHED).to_f32();
        assert!(rim.map(|value| value.to_f32()).all(|value| value == expected), "rim");
        self.slice().iter().map(|value| value.to_f32()).collect()
    }
}

struct Case<T> {
    geometry: Geometry,
    x: Rimmed<T>,
    grad_y: Rimmed<T>,
    weight: Rimmed<f32>,
    scale: Option<Rimmed<f32>>,
    bias: Option<Rimmed<f32>>,
    activation: Activation,
    add: Option<Rimmed<T>>,
}

#[derive(PartialEq, Debug)]
struct Outputs {
    y: Vec<f32>,
    moments: Option<Moments>,
    grad_x: Vec<f32>,
    grad_weight: Vec<f32>,
    grad_bias: Vec<f32>,
}

impl<T: Number> Case<T> {
    fn new(seed: u64, geometry: Geometry, extras: bool, activation: Activation) -> Self {
        let channels = geometry.in_channels;
        let of = |k: u64, len: usize| noise(seed * 8 + k, len);
        let vector = |k| extras.then(|| Rimmed::input(of(k, channels)));
        Case {
            geometry,
            x: Rimmed::input(of(0, geometry.in_len())),
            grad_y: Rimmed::input(of(1, geometry.out_len())),
            weight: Rimmed::input(of(2, geometry.weight_len())),
            scale: vector(3),
            bias: vector(4),
            activation,
            add: extras.then(|| Rimmed::input(of(5, geometry.in_len()))),
        }
    }

    fn run(&self, parallel: &dyn Parallel) -> Outputs {
        let geometry = self.geometry;
        let weight = self.weight.slice();
        let mut y = Rimmed::<T>::output(geometry.out_len());
        let forward = Forward {
            geometry,
            x: self.x.slice(),
            weight,
            scale: self.scale.as_ref().map(Rimmed::slice),
            bias: self.bias.as_ref().map(Rimmed::slice),
            activation: self.activation,
            statistics: true,
            y: y.slice_mut(),
        };
        let moments = forward.run(parallel).unwrap();
        let mut grad_x = Rimmed::<T>::output(geometry.in_len());
        let (grad_y, add) = (self.grad_y.slice(), self.add.as_ref().map(Rimmed::slice));
        let backward = GradInput { geometry, grad_y, weight, add, grad_x: grad_x.slice_mut() };
        backward.run(parallel).unwrap();
        let mut grad_weight = Rimmed::<f32>::output(geometry.weight_len());
        let mut grad_bias = Rimmed::<f32>::output(geometry.out_channels);
        let backward = GradWeight {
            geometry,
            x: self.x.slice(),
            grad_y,
            grad_weight: grad_weight.slice_mut(),
            grad_bias: Some(grad_bias.slice_mut()),
        };
        backward.run(parallel).unwrap();
        let (grad_weight, grad_bias) = (grad_weight.written(), grad_bias.written());
        Outputs { y: y.written(), moments, grad_x: grad_x.written(), grad_weight, grad_bias }
    }

    /// Calls with the indices of `x`, `y` and weight of each product, and the channel.
    fn products(&self, mut each: impl FnMut(usize, usize, usize, usize)) {
        let g = self.geometry;
        let ([height, width], [in_height, in_width]) = (g.out_size(), g.in_size);
        let [kernel_height, kernel_width] = g.kernel_size;
        for out in 0..g.batch * height * width {
            let (image, i, j) = (out / width / height, out / width % height, out % width);
            for tap in 0..kernel_height * kernel_width {
                let taps = [tap / kernel_width, tap % kernel_width];
                let at = |d: usize, j: usize| {
                    (j * g.stride[d] + taps[d] * g.dilation[d]).wrapping_sub(g.padding[d])
                };
                let (row, column) = (at(0, i), at(1, j));
                if row < in_height && column < in_width {
                    let pixel = (image * in_height + row) * in_width + column;
                    for c in 0..g.in_channels {
                        let weight = c * kernel_height * kernel_width + tap;
                        each(pixel * g.in_channels + c, out * g.in_channels + c, weight, c);
                    }
                }
            }
        }
    }

    /// Compares with the definition. `unit` is the rounding of `T`.
    fn check(&self, got: &Outputs, unit: f64) {
        let wide = |values: &[T]| values.iter().map(|v| v.to_f32() as f64).collect::<Vec<f64>>();
        let g = self.geometry;
        let channels = g.in_channels;
        let (x, grad_y) = (wide(self.x.slice()), wide(self.grad_y.slice()));
        let weight = self.weight.slice().iter().map(|&w| T::from_f32(w)).collect::<Vec<T>>();
        let weight = wide(&weight);
        let of = |values: &Option<Rimmed<f32>>, c: usize, or: f64| {
            values.as_ref().map_or(or, |values| values.slice()[c] as f64)
        };

        let mut y: Vec<f64> = (0..g.out_len()).map(|i| of(&self.bias, i % channels, 0.0)).collect();
        let mut grad_x = self.add.as_ref().map_or(vec![0.0; g.in_len()], |add| wide(add.slice()));
        let mut grad_weight = vec![0.0; g.weight_len()];
        self.products(|from, to, place, c| {
            y[to] += x[from] * weight[place] * of(&self.scale, c, 1.0);
            grad_x[from] += grad_y[to] * weight[place];
            grad_weight[place] += x[from] * grad_y[to];
        });
        let mut grad_bias = vec![0.0; channels];
        grad_y.iter().enumerate().for_each(|(i, grad)| grad_bias[i % channels] += grad);
        for y in &mut y {
            let Activation { slope, max } = self.activation;
            *y = if *y > 0.0 { y.min(max as f64) } else { slope as f64 * *y };
        }

        close("y", &got.y, &y, |y| unit * y.abs() + 1e-5);
        close("grad_x", &got.grad_x, &grad_x, |grad| unit * grad.abs() + 1e-5);
        let slack = 1e-6 * (1.0 + grad_y.len() as f64 / channels as f64);
        close("grad_weight", &got.grad_weight, &grad_weight, |_| slack);
        close("grad_bias", &got.grad_bias, &grad_bias, |_| slack);
        check_moments(got.moments.as_ref().unwrap(), &got.y, channels);
    }
}

#[track_caller]
fn close(name: &str, got: &[f32], expected: &[f64], tolerance: impl Fn(f64) -> f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let difference = (*got as f64 - expected).abs();
        assert!(difference <= tolerance(*expected), "{name} {i}: {got}, expected {expected}");
    }
}

/// The moments must be those of what was stored.
fn check_moments(got: &Moments, y: &[f32], channels: usize) {
    for c in 0..channels {
        let column = || y.iter().skip(c).step_by(channels).map(|&y| y as f64);
        let n = column().count() as f64;
        let mean = column().sum::<f64>() / n;
        let squares = column().map(|y| (y - mean) * (y - mean)).sum::<f64>();
        assert_eq!(got.count, n);
        let deviation = (squares / n).sqrt();
        assert!((got.mean[c] - mean).abs() <= 1e-5 * deviation + 1e-12, "mean of {c}");
        let tolerance = 1e-5 * squares + 1e-12;
        assert!((got.squares[c] - squares).abs() <= tolerance, "{} {squares}", got.squares[c]);
    }
}

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
    }
}

const LEAKY: Activation = Activation { slope: 0.1, max: 0.5 };

fn activations() -> impl Strategy<Value = Activation> {
    let steep = Activation { slope: 2.0, max: f32::INFINITY };
    let all = [Activation::IDENTITY, Activation::RELU, Activation::RELU6, LEAKY, steep];
    prop::sample::select(all.to_vec())
}

/// Geometries that a kernel fits into.
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
        })
        .prop_filter("the kernel fits", |geometry| geometry.check().is_ok())
}

/// Usual kernels: those with inner loops of their own.
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
    case.bias = Some(Rimmed::input((0..20).map(|c| 1e4 * c as f32)));
    let got = case.run(&Scoped(2));
    check_moments(got.moments.as_ref().unwrap(), &got.y, 20);
}

#[test]
fn a_nan_is_not_hidden() {
    for activation in [Activation::IDENTITY, Activation::RELU, Activation::RELU6, LEAKY] {
        let mut case = Case::<bf16>::new(6, geometry(18, [12, 12], [3; 2]), false, activation);
        case.x.slice_mut()[(5 * 12 + 5) * 18 + 17] = bf16::NAN;
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
