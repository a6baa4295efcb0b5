//! The kernels against the sums written out in f64.

use half::bf16;
use proptest::prelude::*;

use super::{takes, Forward, GradInput, GradWeight, PackedWeight};
use crate::kernels::cpu::convolution::{Geometry, Load, Moments, Operand};
use crate::kernels::cpu::parallel::{Parallel, Scoped, Serial};
use crate::kernels::cpu::simd::{each_level, forced, Number};
use crate::kernels::cpu::{Activation, Element};

/// Around every slice. Inputs have NaNs there, which would be seen in the results.
const RIM: usize = 19;
const CANARY: f32 = 12345.0;

/// A slice within a rim.
#[derive(Clone)]
struct Guarded<T> {
    all: Vec<T>,
    rim: f32,
}

impl<T: Element> Guarded<T> {
    fn input(values: impl Iterator<Item = f32>) -> Self {
        Guarded::new(f32::NAN, values)
    }

    fn output(len: usize) -> Self {
        Guarded::new(CANARY, std::iter::repeat_n(f32::NAN, len))
    }

    fn new(rim: f32, values: impl Iterator<Item = f32>) -> Self {
        let side = || std::iter::repeat_n(rim, RIM);
        Guarded { all: side().chain(values).chain(side()).map(T::from_f32).collect(), rim }
    }

    fn get(&self) -> &[T] {
        &self.all[RIM..self.all.len() - RIM]
    }

    fn get_mut(&mut self) -> &mut [T] {
        let end = self.all.len() - RIM;
        &mut self.all[RIM..end]
    }

    fn checked(&self) -> Vec<f64> {
        let (before, after) = (&self.all[..RIM], &self.all[self.all.len() - RIM..]);
        let rim = T::from_f32(self.rim).to_f32();
        assert!(before.iter().chain(after).all(|canary| canary.to_f32() == rim));
        exact(self.get())
    }
}

fn exact<T: Element>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f32() as f64).collect()
}

/// Numbers between -1 and 1 that look random.
fn noise(seed: u64, len: usize) -> impl Iterator<Item = f32> {
    (0..len as u64).map(move |i| {
        let mut z = (seed << 32 ^ i).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    })
}

#[derive(Clone, Copy, Debug)]
struct Flags {
    load: bool,
    bias: bool,
    residual: bool,
    activation: Activation,
}

const PLAIN: Flags =
    Flags { load: false, bias: false, residual: false, activation: Activation::IDENTITY };

/// Inputs of all three passes.
struct Case<T> {
    geometry: Geometry,
    flags: Flags,
    x: Guarded<T>,
    grad_y: Guarded<T>,
    residual: Guarded<T>,
    add: Guarded<T>,
    weight: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    bias: Vec<f32>,
}

struct Outputs<T> {
    y: Guarded<T>,
    moments: Moments,
    grad_x: Guarded<T>,
    grad_weight: Guarded<f32>,
    grad_bias: Guarded<f32>,
}

fn geometry(
    batch: usize,
    channels: [usize; 2],
    in_size: [usize; 2],
    padding: [usize; 2],
) -> Geometry {
    Geometry {
        batch,
        in_channels: channels[0],
        out_channels: channels[1],
        in_size,
        kernel_size: [3, 3],
        stride: [1, 1],
        padding,
        dilation: [1, 1],
        groups: 1,
    }
}

fn act(activation: Activation, v: f64) -> f64 {
    if v > 0.0 {
        v.min(activation.max as f64)
    } else {
        activation.slope as f64 * v
    }
}

impl<T: Number> Case<T> {
    fn new(seed: u64, geometry: Geometry, flags: Flags) -> Self {
        let noise = |k: u64, len: usize| noise(seed * 16 + k, len);
        let (ins, outs) = (geometry.in_channels, geometry.out_channels);
        Case {
            geometry,
            flags,
            x: Guarded::input(noise(0, geometry.in_len())),
            grad_y: Guarded::input(noise(1, geometry.out_len())),
            residual: Guarded::input(noise(2, geometry.out_len())),
            add: Guarded::input(noise(3, geometry.in_len())),
            weight: noise(4, geometry.weight_len()).collect(),
            scale: noise(5, ins).map(|v| 1.0 + v / 2.0).collect(),
            shift: noise(6, ins).collect(),
            bias: noise(7, outs).collect(),
        }
    }

    fn load(&self) -> Option<Load<'_>> {
        let activation = self.flags.activation;
        self.flags.load.then_some(Load { scale: &self.scale, shift: &self.shift, activation })
    }

    fn run(&self, parallel: &dyn Parallel) -> Outputs<T> {
        let geometry = self.geometry;
        let pack = |operand| {
            let mut weight = PackedWeight::<T>::new(geometry, operand).unwrap();
            weight.pack(&self.weight, None).unwrap();
            weight
        };
        let mut y = Guarded::output(geometry.out_len());
        let moments = Forward {
            geometry,
            x: self.x.get(),
            load: self.load(),
            weight: &pack(Operand::Forward),
            bias: self.flags.bias.then_some(&self.bias[..]),
            residual: self.flags.residual.then_some(self.residual.get()),
            activation: self.flags.activation,
            statistics: true,
            y: y.get_mut(),
        };
        let moments = moments.run(parallel).unwrap().unwrap();
        let mut grad_x = Guarded::output(geometry.in_len());
        let pass = GradInput {
            geometry,
            grad_y: self.grad_y.get(),
            weight: &pack(Operand::GradInput),
            add: self.flags.residual.then_some(self.add.get()),
            grad_x: grad_x.get_mut(),
        };
        pass.run(parallel).unwrap();
        let mut grad_weight = Guarded::output(geometry.weight_len());
        let mut grad_bias = Guarded::output(geometry.out_channels);
        let pass = GradWeight {
            geometry,
            x: self.x.get(),
            load: self.load(),
            grad_y: self.grad_y.get(),
            grad_weight: grad_weight.get_mut(),
            grad_bias: self.flags.bias.then_some(grad_bias.get_mut()),
        };
        pass.run(parallel).unwrap();
        Outputs { y, moments, grad_x, grad_weight, grad_bias }
    }

    /// `x` as the kernels shall see it.
    fn loaded(&self) -> Vec<f64> {
        let channels = self.geometry.in_channels;
        let values = self.x.get().iter().map(|x| x.to_f32()).enumerate();
        let load = |(i, x): (usize, f32)| match self.load() {
            Some(load) => {
                let v = x.mul_add(load.scale[i % channels], load.shift[i % channels]);
                T::from_f32(act(load.activation, v as f64) as f32).to_f32() as f64
            }
            None => x as f64,
        };
        values.map(load).collect()
    }

    /// Calls with the places in output, input and weight of each product.
    fn products(&self, mut call: impl FnMut(usize, usize, usize)) {
        let g = self.geometry;
        let ([height, width], [out_height, out_width]) = (g.in_size, g.out_size());
        let (ins, outs) = (g.in_channels, g.out_channels);
        for at in 0..g.batch * out_height * out_width {
            let (n, oy, ox) =
                (at / (out_height * out_width), at / out_width % out_height, at % out_width);
            for tap in 0..9 {
                let y = (oy + tap / 3).wrapping_sub(g.padding[0]);
                let x = (ox + tap % 3).wrapping_sub(g.padding[1]);
                if y >= height || x >= width {
                    continue;
                }
                let from = ((n * height + y) * width + x) * ins;
                for o in 0..outs {
                    for i in 0..ins {
                        call(at * outs + o, from + i, (o * 9 + tap) * ins + i);
                    }
                }
            }
        }
    }

    /// Compares with the sums; `unit` is the error of a product, `rounding` that of a stored `T`.
    fn check(&self, outputs: &Outputs<T>, unit: f64, rounding: f64) {
        let g = self.geometry;
        let x = self.loaded();
        let weight: Vec<f64> = exact(&self.weight);
        let grad_y = exact(self.grad_y.get());
        let mut y = vec![0.0; g.out_len()];
        let mut grad_x = vec![0.0; g.in_len()];
        let mut grad_weight = vec![0.0; g.weight_len()];
        self.products(|out, at, tap| {
            y[out] += x[at] * weight[tap];
            grad_x[at] += grad_y[out] * weight[tap];
            grad_weight[tap] += x[at] * grad_y[out];
        });
        for (i, y) in y.iter_mut().enumerate() {
            *y += if self.flags.bias { self.bias[i % g.out_channels] as f64 } else { 0.0 };
            *y += if self.flags.residual { self.residual.get()[i].to_f32() as f64 } else { 0.0 };
            *y = act(self.flags.activation, *y);
        }
        if self.flags.residual {
            grad_x.iter_mut().zip(exact(self.add.get())).for_each(|(x, add)| *x += add);
        }
        let size = |terms: usize| unit * (terms as f64).sqrt();
        let pixels = g.batch * g.out_size()[0] * g.out_size()[1];
        close("y", &outputs.y.checked(), &y, size(9 * g.in_channels), rounding);
        close("grad_x", &outputs.grad_x.checked(), &grad_x, size(9 * g.out_channels), rounding);
        close("grad_weight", &outputs.grad_weight.checked(), &grad_weight, size(pixels), 0.0);
        if self.flags.bias {
            let mut grad_bias = vec![0.0; g.out_channels];
            grad_y.iter().enumerate().for_each(|(i, v)| grad_bias[i % g.out_channels] += v);
            let small = 1e-6 * pixels as f64;
            close("grad_bias", &outputs.grad_bias.checked(), &grad_bias, small, 0.0);
        }
        self.check_moments(&outputs.y.checked(), &outputs.moments);
    }

    fn check_moments(&self, y: &[f64], moments: &Moments) {
        let channels = self.geometry.out_channels;
        let count = (y.len() / channels) as f64;
        assert_eq!(moments.count, count);
        assert_eq!((moments.mean.len(), moments.squares.len()), (channels, channels));
        for c in 0..channels {
            let column = || y.iter().skip(c).step_by(channels);
            let mean = column().sum::<f64>() / count;
            let squares: f64 = column().map(|y| (y - mean) * (y - mean)).sum();
            let spread = (squares / count).sqrt();
            assert!((moments.mean[c] - mean).abs() <= 1e-5 * spread + 1e-7 * mean.abs());
            assert!((moments.squares[c] - squares).abs() <= 1e-4 * squares + 1e-9);
        }
    }

    fn passes(&self, parallel: &dyn Parallel) -> [Vec<f64>; 6] {
        let outputs = self.run(parallel);
        let bias = if self.flags.bias { outputs.grad_bias.checked() } else { Vec::new() };
        let Moments { mean, squares, .. } = outputs.moments;
        let (y, grad_x) = (outputs.y.checked(), outputs.grad_x.checked());
        [y, grad_x, outputs.grad_weight.checked(), bias, mean, squares]
    }
}

#[track_caller]
fn close(name: &str, got: &[f64], expected: &[f64], size: f64, rounding: f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let tolerance = size + rounding * expected.abs();
        assert!((got - expected).abs() <= tolerance, "{name}[{i}]: {got}, not {expected}");
    }
}

const F32: (f64, f64) = (4e-6, 1e-7);
const BF16: (f64, f64) = (0.035, 0.004);

fn flags() -> impl Strategy<Value = Flags> {
    let leaky = Activation { slope: 0.1, max: f32::INFINITY };
    let activation = prop::sample::select(vec![
        Activation::IDENTITY,
        Activation::RELU,
        Activation::RELU6,
        leaky,
    ]);
    (any::<[bool; 3]>(), activation).prop_map(|([load, bias, residual], activation)| Flags {
        load,
        bias,
        residual,
        activation,
    })
}

fn shape() -> impl Strategy<Value = Geometry> {
    let channels = || prop_oneof![1usize..5, 12usize..40, Just(16), Just(32), Just(64), Just(67)];
    let size = (1usize..10, 1usize..12);
    (1usize..4, channels(), channels(), size, 0usize..3, 0usize..3)
        .prop_map(|(batch, ins, outs, (h, w), v, u)| geometry(batch, [ins, outs], [h, w], [v, u]))
        .prop_filter("the kernel fits", takes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn f32_follows_the_sums(seed in 0u64..1000, geometry in shape(), flags in flags()) {
        let case = Case::<f32>::new(seed, geometry, flags);
        case.check(&case.run(&Serial), F32.0, F32.1);
    }

    #[test]
    fn bf16_follows_the_sums(seed in 0u64..1000, geometry in shape(), flags in flags()) {
        let case = Case::<bf16>::new(seed, geometry, flags);
        case.check(&case.run(&Serial), BF16.0, BF16.1);
    }

    #[test]
    fn threads_change_nothing(seed in 0u64..1000, geometry in shape(), flags in flags()) {
        let case = Case::<bf16>::new(seed, geometry, flags);
        prop_assert!(case.passes(&Serial) == case.passes(&Scoped(3)));
        let case = Case::<f32>::new(seed, geometry, flags);
        prop_assert!(case.passes(&Serial) == case.passes(&Scoped(3)));
    }
}

#[test]
fn every_level_follows_the_sums() {
    let flags = Flags { load: true, bias: true, residual: true, activation: Activation::RELU };
    for (channels, size) in [([16, 16], [8, 8]), ([35, 50], [5, 7]), ([3, 1], [2, 2])] {
        let geometry = geometry(3, channels, size, [1, 1]);
        let (single, half) =
            (Case::<f32>::new(1, geometry, flags), Case::<bf16>::new(1, geometry, flags));
        for level in each_level() {
            forced(level, || single.check(&single.run(&Serial), F32.0, F32.1));
            forced(level, || half.check(&half.run(&Serial), BF16.0, BF16.1));
        }
    }
}

#[test]
fn many_tasks_and_blocks_follow_the_sums() {
    for (batch, channels, size) in [
        (9, [16, 16], [32, 32]),
        (40, [20, 3], [6, 6]),
        (33, [16, 80], [2, 2]),
        (2, [130, 150], [4, 4]),
    ] {
        let geometry = geometry(batch, channels, size, [1, 1]);
        let case = Case::<f32>::new(2, geometry, Flags { bias: true, ..PLAIN });
        case.check(&case.run(&Scoped(2)), F32.0, F32.1);
        let case = Case::<bf16>::new(2, geometry, Flags { bias: true, ..PLAIN });
        case.check(&case.run(&Scoped(2)), BF16.0, BF16.1);
    }
}

#[test]
fn large_means_keep_their_digits() {
    let mut case =
        Case::<f32>::new(3, geometry(8, [4, 20], [16, 15], [1, 1]), Flags { bias: true, ..PLAIN });
    case.bias.iter_mut().for_each(|bias| *bias += 1e4);
    let outputs = case.run(&Serial);
    case.check_moments(&outputs.y.checked(), &outputs.moments);
}

#[test]
fn a_nan_is_not_hidden() {
    let flags = Flags { load: true, activation: Activation::RELU, ..PLAIN };
    let mut case = Case::<bf16>::new(4, geometry(2, [16, 16], [8, 8], [1, 1]), flags);
    case.x.get_mut()[(8 + 3) * 16 + 5] = bf16::NAN;
    let outputs = case.run(&Serial);
    assert!(outputs.y.get()[(8 + 3) * 16].is_nan());
    assert!(!outputs.y.get()[64 * 16].is_nan());
    assert!(outputs.moments.mean[0].is_nan() && outputs.moments.squares[0].is_nan());
    assert!(outputs.grad_weight.get()[5].is_nan());
    assert!(!outputs.grad_x.get()[5].is_nan());
}

/// Relative errors in the norm, and how exact a convolution of rounded inputs could be.
#[test]
fn errors_are_a_few_roundings() {
    let geometry = geometry(2, [32, 32], [16, 16], [1, 1]);
    let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
    let error = |got: &[f64], expected: &[f64]| {
        let difference: Vec<f64> = got.iter().zip(expected).map(|(g, e)| g - e).collect();
        norm(&difference) / norm(expected)
    };
    let half = Case::<bf16>::new(5, geometry, PLAIN);
    let single = Case::<f32>::new(5, geometry, PLAIN);
    let (x, grad_y, weight) = (exact(half.x.get()), exact(half.grad_y.get()), exact(&half.weight));
    let (mut y, mut grad_x) = (vec![0.0; geometry.out_len()], vec![0.0; geometry.in_len()]);
    let (mut grad_weight, mut direct) = (vec![0.0; geometry.weight_len()], y.clone());
    half.products(|out, at, tap| {
        y[out] += x[at] * weight[tap];
        direct[out] += x[at] * bf16::from_f64(weight[tap]).to_f64();
        grad_x[at] += grad_y[out] * weight[tap];
        grad_weight[tap] += x[at] * grad_y[out];
    });
    direct.iter_mut().for_each(|y| *y = bf16::from_f64(*y).to_f64());
    let outputs = half.run(&Serial);
    let errors = [
        error(&outputs.y.checked(), &y),
        error(&outputs.grad_x.checked(), &grad_x),
        error(&outputs.grad_weight.checked(), &grad_weight),
    ];
    println!("bf16: {errors:?}; direct {}", error(&direct, &y));
    assert!(errors.iter().all(|&error| error < 0.006), "{errors:?}");

    let mut y = vec![0.0; geometry.out_len()];
    let mut direct = vec![0.0f32; geometry.out_len()];
    let x = exact(single.x.get());
    single.products(|out, at, tap| {
        y[out] += x[at] * weight[tap];
        direct[out] += x[at] as f32 * weight[tap] as f32;
    });
    let got = error(&single.run(&Serial).y.checked(), &y);
    println!("f32: {got:e}; direct {:e}", error(&exact(&direct), &y));
    assert!(got < 1e-6, "{got}");
}

#[test]
fn rows_may_be_packed_by_threads() {
    let geometry = geometry(1, [20, 50], [4, 4], [1, 1]);
    let case = Case::<bf16>::new(6, geometry, PLAIN);
    for operand in [Operand::Forward, Operand::GradInput] {
        let mut whole = PackedWeight::<bf16>::new(geometry, operand).unwrap();
        whole.pack(&case.weight, Some(&[1.0; 50])).unwrap();
        let parts = PackedWeight::<bf16>::new(geometry, operand).unwrap();
        std::thread::scope(|scope| {
            for (i, rows) in case.weight.chunks(16 * 180).enumerate() {
                let parts = &parts;
                // SAFETY: each thread has rows of its own.
                scope.spawn(move || unsafe { parts.pack_rows(16 * i, rows) });
            }
        });
        // SAFETY: both have that many bytes, and nobody writes them.
        let bytes = |weight: &PackedWeight<bf16>| unsafe {
            std::slice::from_raw_parts(weight.words().cast::<u8>(), weight.bytes())
        };
        assert!(bytes(&whole) == bytes(&parts));
    }
}

#[test]
fn scales_multiply_the_output_channels() {
    let geometry = geometry(1, [3, 18], [4, 4], [1, 1]);
    let mut case = Case::<f32>::new(7, geometry, PLAIN);
    let scale: Vec<f32> = (0..18).map(|i| (i as f32 - 7.0) / 4.0).collect();
    let mut scaled = PackedWeight::<f32>::new(geometry, Operand::Forward).unwrap();
    scaled.pack(&case.weight, Some(&scale)).unwrap();
    for (i, weight) in case.weight.iter_mut().enumerate() {
        *weight *= scale[i / 27];
    }
    let mut y = vec![0.0; geometry.out_len()];
    let forward = Forward {
        geometry,
        x: case.x.get(),
        load: None,
        weight: &scaled,
        bias: None,
        residual: None,
        activation: Activation::IDENTITY,
        statistics: false,
        y: &mut y,
    };
    assert!(forward.run(&Serial).unwrap().is_none());
    close("y", &exact(&y), &case.run(&Serial).y.checked(), 1e-5, 0.0);
}

#[test]
fn wrong_lengths_are_errors() {
    let good = geometry(1, [3, 5], [4, 4], [1, 1]);
    assert!(!takes(&Geometry { stride: [2, 1], ..good }));
    assert!(!takes(&Geometry { padding: [3, 1], ..good }));
    assert!(PackedWeight::<f32>::new(Geometry { groups: 2, ..good }, Operand::Forward).is_err());
    let mut weight = PackedWeight::<f32>::new(good, Operand::Forward).unwrap();
    assert!(weight.pack(&[0.0; 134], None).is_err());
    assert!(weight.pack(&[0.0; 135], Some(&[1.0; 3])).is_err());
    let (x, residual) = ([0.0; 48], [0.0; 80]);
    let run = |geometry, x: &[f32], y: &mut [f32], residual, bias, load| {
        let (activation, statistics) = (Activation::RELU, true);
        let weight = &weight;
        let forward =
            Forward { geometry, x, load, weight, bias, residual, activation, statistics, y };
        forward.run(&Serial).map(|_| ()).map_err(|error| error.to_string())
    };
    let y = &mut [0.0f32; 80];
    assert!(run(good, &x, y, Some(&residual[..]), Some(&[0.0; 5][..]), None).is_ok());
    assert!(run(good, &x[1..], y, None, None, None).unwrap_err().contains("x must have 48"));
    assert!(run(good, &x, &mut y[1..], None, None, None).unwrap_err().contains("y must have 80"));
    assert!(run(good, &x, y, Some(&x), None, None).unwrap_err().contains("residual must have"));
    assert!(run(good, &x, y, None, Some(&x), None).unwrap_err().contains("bias must have 5"));
    let load = Load { scale: &[1.0; 3], shift: &[0.0; 2], activation: Activation::RELU };
    assert!(run(good, &x, y, None, None, Some(load)).unwrap_err().contains("shift must have 3"));
    let other = Geometry { in_channels: 4, ..good };
    assert!(run(other, &[0.0; 64], y, None, None, None).unwrap_err().contains("weight"));
    let grad_input =
        GradInput { geometry: good, grad_y: &residual, weight: &weight, add: None, grad_x: y };
    assert!(grad_input.run(&Serial).is_err());
    let grad_weight = GradWeight {
        geometry: good,
        x: &x,
        load: None,
        grad_y: &residual,
        grad_weight: &mut [0.0; 135],
        grad_bias: Some(&mut [0.0; 4]),
    };
    let message = grad_weight.run(&Serial).unwrap_err().to_string();
    assert!(message.contains("grad_bias must have 5"), "{message}");
}
