//! The products against sums in f64, over shapes of all kinds.

use half::bf16;

use super::{Forward, GradInput, PackedWeight};
use crate::kernels::cpu::convolution::{Geometry, Load, Moments, Operand};
use crate::kernels::cpu::parallel::{Parallel, Scoped, Serial};
use crate::kernels::cpu::simd::{each_level, forced};
use crate::kernels::cpu::{Activation, Number};

/// Around every slice: NaN, which would poison a result, and is to be found untouched.
const RIM: usize = 37;

struct Guarded<T>(Vec<T>);

impl<T: Number> Guarded<T> {
    fn new(values: impl Iterator<Item = f32>) -> Self {
        let rim = || std::iter::repeat_n(f32::NAN, RIM);
        Guarded(rim().chain(values).chain(rim()).map(T::from_f32).collect())
    }

    fn inside(&self) -> &[T] {
        &self.0[RIM..self.0.len() - RIM]
    }

    fn inside_mut(&mut self) -> &mut [T] {
        let end = self.0.len() - RIM;
        &mut self.0[RIM..end]
    }

    fn checked(self) -> Vec<f32> {
        let rims = self.0[..RIM].iter().chain(&self.0[self.0.len() - RIM..]);
        assert!(rims.into_iter().all(|value| value.to_f32().is_nan()));
        self.inside().iter().map(|value| value.to_f32()).collect()
    }
}

/// Numbers that look random.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Between -1 and 1.
    fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }
}

/// A convolution with all that may go with it.
struct Case<T> {
    geometry: Geometry,
    x: Guarded<T>,
    grad_y: Guarded<T>,
    master: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    bias: Vec<f32>,
    residual: Guarded<T>,
    add: Guarded<T>,
    activation: Activation,
    /// Load, bias, residual or add, statistics.
    with: [bool; 4],
}

/// What a case gives.
#[derive(Debug, PartialEq)]
struct Outputs {
    y: Vec<f32>,
    moments: Option<(f64, Vec<f64>, Vec<f64>)>,
    grad_x: Vec<f32>,
}

impl<T: Number> Case<T> {
    fn new(geometry: Geometry, seed: u64) -> Self {
        let mut noise = Noise(seed);
        let mut guarded = |len: usize| Guarded::new(noise.values(len).into_iter());
        let (x, add) = (guarded(geometry.in_len()), guarded(geometry.in_len()));
        let (grad_y, residual) = (guarded(geometry.out_len()), guarded(geometry.out_len()));
        let leaky = Activation { slope: 0.25, max: 0.75 };
        let activations = [Activation::IDENTITY, Activation::RELU, Activation::RELU6, leaky];
        Case {
            geometry,
            x,
            grad_y,
            residual,
            add,
            master: noise.values(geometry.weight_len()),
            scale: noise.values(geometry.in_channels),
            shift: noise.values(geometry.in_channels),
            bias: noise.values(geometry.out_channels),
            activation: noise.pick(&activations),
            with: [0; 4].map(|_| noise.below(2) == 1),
        }
    }

    fn load(&self) -> Option<Load<'_>> {
        let (scale, shift) = (&self.scale[..], &self.shift[..]);
        self.with[0].then_some(Load { scale, shift, activation: Activation::RELU })
    }

    fn run(&self, parallel: &dyn Parallel) -> Outputs {
        let geometry = self.geometry;
        let mut weight = PackedWeight::<T>::new(&geometry, Operand::Forward).unwrap();
        weight.pack(&self.master, None).unwrap();
        let mut y = Guarded::new(std::iter::repeat_n(f32::NAN, geometry.out_len()));
        let forward = Forward {
            geometry,
            x: self.x.inside(),
            load: self.load(),
            weight: &weight,
            bias: self.with[1].then_some(&self.bias[..]),
            residual: self.with[2].then(|| self.residual.inside()),
            activation: self.activation,
            statistics: self.with[3],
            y: y.inside_mut(),
        };
        let moments = forward.run(parallel).unwrap();

        let mut weight = PackedWeight::<T>::new(&geometry, Operand::GradInput).unwrap();
        weight.pack(&self.master, None).unwrap();
        let mut grad_x = Guarded::new(std::iter::repeat_n(f32::NAN, geometry.in_len()));
        let grad_input = GradInput {
            geometry,
            grad_y: self.grad_y.inside(),
            weight: &weight,
            add: self.with[2].then(|| self.add.inside()),
            grad_x: grad_x.inside_mut(),
        };
        grad_input.run(parallel).unwrap();
        let moments = moments.map(|Moments { count, mean, squares }| (count, mean, squares));
        Outputs { y: y.checked(), moments, grad_x: grad_x.checked() }
    }

    /// Calls `each` with the indices of all that are multiplied: of `x`, the weight and `y`.
    fn products(&self, mut each: impl FnMut(usize, usize, usize)) {
        let g = self.geometry;
        let [out_height, out_width] = g.out_size();
        for out in 0..g.batch * out_height * out_width {
            let (image, oy, ox) =
                (out / out_width / out_height, out / out_width % out_height, out % out_width);
            for tap in 0..g.taps() {
                let (ky, kx) = (tap / g.kernel_size[1], tap % g.kernel_size[1]);
                let iy = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.padding[0]);
                let ix = (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.padding[1]);
                if iy >= g.in_size[0] || ix >= g.in_size[1] {
                    continue;
                }
                let pixel = (image * g.in_size[0] + iy) * g.in_size[1] + ix;
                for o in 0..g.out_channels {
                    for i in 0..g.in_channels {
                        let weight = (o * g.taps() + tap) * g.in_channels + i;
                        each(pixel * g.in_channels + i, weight, out * g.out_channels + o);
                    }
                }
            }
        }
    }

    fn check(&self, outputs: &Outputs) {
        let g = self.geometry;
        let round = |value: f32| f64::from(T::from_f32(value).to_f32());
        let weight: Vec<f64> = self.master.iter().map(|&value| round(value)).collect();
        let loaded = |(i, x): (usize, &T)| match self.with[0] {
            true => {
                let c = i % g.in_channels;
                round(x.to_f32().mul_add(self.scale[c], self.shift[c]).max(0.0))
            }
            false => f64::from(x.to_f32()),
        };
        let x: Vec<f64> = self.x.inside().iter().enumerate().map(loaded).collect();
        let grad: Vec<f64> = self.grad_y.inside().iter().map(|v| f64::from(v.to_f32())).collect();
        let (mut y, mut grad_x) = (vec![0.0; g.out_len()], vec![0.0; g.in_len()]);
        self.products(|i, w, o| {
            y[o] += x[i] * weight[w];
            grad_x[i] += grad[o] * weight[w];
        });
        for (o, y) in y.iter_mut().enumerate() {
            *y += if self.with[1] { f64::from(self.bias[o % g.out_channels]) } else { 0.0 };
            *y += if self.with[2] { f64::from(self.residual.inside()[o].to_f32()) } else { 0.0 };
            let Activation { slope, max } = self.activation;
            *y = if *y > 0.0 { y.min(f64::from(max)) } else { *y * f64::from(slope) };
        }
        for (i, grad) in grad_x.iter_mut().enumerate() {
            *grad += if self.with[2] { f64::from(self.add.inside()[i].to_f32()) } else { 0.0 };
        }
        self.close("y", &outputs.y, &y);
        self.close("grad_x", &outputs.grad_x, &grad_x);
        assert_eq!(outputs.moments.is_some(), self.with[3]);
        if let Some((count, mean, squares)) = &outputs.moments {
            check_moments(&outputs.y, *count, mean, squares);
        }
    }

    fn close(&self, name: &str, got: &[f32], expected: &[f64]) {
        let unit = if T::PER_WORD == 2 { 1.0 / 250.0 } else { 1e-6 };
        // The load's own rounding may go either way if it fuses or does not.
        let slack = if self.with[0] { 3.0 * unit } else { 1e-5 };
        for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
            let tolerance = unit * expected.abs() + slack * (1.0 + expected.abs());
            let error = (f64::from(*got) - expected).abs();
            assert!(
                error <= tolerance,
                "{name}[{i}] is {got}, expected {expected}, of {:?}",
                self.geometry
            );
        }
    }
}

fn check_moments(y: &[f32], count: f64, mean: &[f64], squares: &[f64]) {
    let channels = mean.len();
    assert_eq!(count as usize * channels, y.len());
    for c in 0..channels {
        let column = || y.iter().skip(c).step_by(channels).map(|&y| f64::from(y));
        let exact = column().sum::<f64>() / count;
        let deviation: f64 = column().map(|y| (y - exact).powi(2)).sum();
        let spread = (deviation / count).sqrt();
        assert!(
            (mean[c] - exact).abs() <= 1e-5 * spread + 1e-7 * exact.abs(),
            "{} {exact}",
            mean[c]
        );
        let tolerance = 1e-4 * deviation + 1e-12;
        assert!((squares[c] - deviation).abs() <= tolerance, "{} {deviation}", squares[c]);
    }
}

const SMALL: Geometry = Geometry {
    batch: 2,
    in_channels: 16,
    out_channels: 16,
    in_size: [6, 7],
    kernel_size: [3, 3],
    stride: [1, 1],
    padding: [1, 1],
    dilation: [1, 1],
    groups: 1,
};

/// A geometry of some kind.
fn any(noise: &mut Noise) -> Geometry {
    let channels = [1, 2, 3, 5, 8, 15, 16, 17, 24, 31, 32, 33, 40, 49, 64, 70];
    loop {
        let mut pair = |from: &[usize]| [noise.pick(from), noise.pick(from)];
        let geometry = Geometry {
            in_size: pair(&[1, 2, 3, 4, 5, 7, 8, 9, 12, 15]),
            kernel_size: pair(&[1, 1, 2, 3, 3, 3, 5, 7]),
            stride: pair(&[1, 1, 1, 2, 2, 3]),
            padding: pair(&[0, 1, 1, 2, 3]),
            dilation: pair(&[1, 1, 1, 2, 3]),
            batch: noise.pick(&[1, 1, 2, 3, 5, 9]),
            in_channels: noise.pick(&channels),
            out_channels: noise.pick(&channels),
            groups: 1,
        };
        if geometry.check().is_ok() && geometry.macs() < 600_000 {
            return geometry;
        }
    }
}

fn check_any<T: Number>(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let case = Case::<T>::new(any(&mut Noise(seed)), seed);
        let outputs = case.run(&Serial);
        case.check(&outputs);
        assert_eq!(outputs, case.run(&Scoped(3)), "{:?}", case.geometry);
    }
}

#[test]
fn f32_follows_the_sums() {
    check_any::<f32>(0..400);
}

#[test]
fn bf16_follows_the_sums() {
    check_any::<bf16>(1000..1400);
}

#[test]
fn every_level_follows_the_sums() {
    for level in each_level() {
        for seed in 0..60 {
            let geometry = any(&mut Noise(seed));
            let (single, half) =
                (Case::<f32>::new(geometry, seed), Case::<bf16>::new(geometry, seed));
            single.check(&forced(level, || single.run(&Serial)));
            half.check(&forced(level, || half.run(&Serial)));
        }
    }
}

#[test]
fn usual_shapes_follow_the_sums() {
    let networks = [
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
    ];
    for (seed, geometry) in networks.into_iter().enumerate() {
        check_both(geometry, seed as u64);
    }
}

fn check_both(geometry: Geometry, seed: u64) {
    let (single, half) = (Case::<f32>::new(geometry, seed), Case::<bf16>::new(geometry, seed));
    single.check(&single.run(&Scoped(2)));
    half.check(&half.run(&Scoped(2)));
}

#[test]
fn moments_keep_their_digits_beside_a_large_mean() {
    let geometry = Geometry { in_size: [32, 32], batch: 8, ..SMALL };
    let mut case = Case::<f32>::new(geometry, 3);
    (case.with, case.activation) = ([false, true, false, true], Activation::IDENTITY);
    case.bias.fill(1e5);
    let Outputs { y, moments, .. } = case.run(&Serial);
    let (count, mean, squares) = moments.unwrap();
    check_moments(&y, count, &mean, &squares);
}

#[test]
fn a_nan_is_not_hidden() {
    let mut case = Case::<bf16>::new(SMALL, 5);
    (case.with, case.activation) = ([false, false, false, true], Activation::RELU);
    case.x.inside_mut()[0] = bf16::NAN;
    let outputs = case.run(&Serial);
    assert!(outputs.y[0].is_nan() && outputs.moments.unwrap().1[0].is_nan());
}

#[test]
fn a_scale_is_folded_into_the_weight() {
    let geometry = Geometry { out_channels: 21, ..SMALL };
    let mut case = Case::<f32>::new(geometry, 4);
    case.with = [false; 4];
    let scale = Noise(9).values(21);
    let mut weight = PackedWeight::<f32>::new(&geometry, Operand::Forward).unwrap();
    weight.pack(&case.master, Some(&scale)).unwrap();
    assert_eq!(weight.bytes(), 2 * 16 * 9 * 16 * 4);
    let mut y = vec![0.0; geometry.out_len()];
    let forward = Forward {
        geometry,
        x: case.x.inside(),
        load: None,
        weight: &weight,
        bias: None,
        residual: None,
        activation: case.activation,
        statistics: false,
        y: &mut y,
    };
    forward.run(&Serial).unwrap();
    let row = geometry.weight_len() / 21;
    case.master.iter_mut().enumerate().for_each(|(i, value)| *value *= scale[i / row]);
    assert_eq!(y, case.run(&Serial).y);
}

#[test]
fn wrong_calls_are_errors() {
    let master = vec![0.0; SMALL.weight_len()];
    let mut weight = PackedWeight::<f32>::new(&SMALL, Operand::Forward).unwrap();
    let message = |result: crate::error::Result<_>| result.err().unwrap().to_string();
    assert!(message(weight.pack(&master[1..], None)).contains("master must have 2304"));
    assert!(message(weight.pack(&master, Some(&[1.0]))).contains("scale must have 16"));
    let grouped = Geometry { groups: 2, ..SMALL };
    assert!(PackedWeight::<f32>::new(&grouped, Operand::Forward).is_err());

    let (x, mut y) = (vec![0.0f32; SMALL.in_len()], vec![9.0f32; SMALL.out_len()]);
    let mut run = |geometry: Geometry, len: usize, y_len: usize, bias: Option<&[f32]>| {
        let forward = Forward {
            geometry,
            x: &x[..len],
            load: None,
            weight: &weight,
            bias,
            residual: None,
            activation: Activation::IDENTITY,
            statistics: false,
            y: &mut y[..y_len],
        };
        message(forward.run(&Serial).map(|_| ()))
    };
    let (len, y_len) = (SMALL.in_len(), SMALL.out_len());
    assert!(run(SMALL, len - 1, y_len, None).contains("x must have"));
    assert!(run(SMALL, len, y_len - 1, None).contains("y must have"));
    assert!(run(SMALL, len, y_len, Some(&[0.0])).contains("bias must have 16"));
    assert!(run(Geometry { kernel_size: [1, 3], ..SMALL }, len, y_len, None).contains("pack"));
    assert!(run(Geometry { batch: 0, ..SMALL }, len, y_len, None).contains("convolution"));
    assert!(y.iter().all(|&y| y == 9.0));

    let grad_input =
        GradInput { geometry: SMALL, grad_y: &x, weight: &weight, add: None, grad_x: &mut y };
    assert!(message(grad_input.run(&Serial)).contains("another product"));
}
