//! A convolution with everything that its passes take, and the sums of its definition in f64.

use crate::activation::Activation;
use crate::cpu::testing::{floats, Guarded};
use crate::cpu::{Number, Parallel};
use crate::kernels::cpu::convolution::{Forward, Geometry, GradInput, Load, Moments, Operand};

/// An algorithm's passes, for `T`.
pub trait Passes<T> {
    type Weight;

    fn packed(geometry: &Geometry, operand: Operand, master: &[f32]) -> Self::Weight;
    fn forward(pass: Forward<T, Self::Weight>, parallel: &dyn Parallel) -> Option<Moments>;
    fn grad_input(pass: GradInput<T, Self::Weight>, parallel: &dyn Parallel);
}

/// Numbers that look random.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Between -1 and 1.
    pub fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    pub fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }
}

/// A convolution, with the tensors of its passes.
pub struct Case<T> {
    pub geometry: Geometry,
    pub x: Guarded<T>,
    pub grad_y: Guarded<T>,
    pub master: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
    pub bias: Vec<f32>,
    pub residual: Guarded<T>,
    pub add: Guarded<T>,
    pub activation: Activation,
    /// Load, bias, residual or add, statistics.
    pub with: [bool; 4],
}

/// The results of a case.
#[derive(Debug, PartialEq)]
pub struct Outputs {
    pub y: Vec<f32>,
    pub moments: Option<(f64, Vec<f64>, Vec<f64>)>,
    pub grad_x: Vec<f32>,
}

impl<T: Number> Case<T> {
    pub fn new(geometry: Geometry, seed: u64) -> Self {
        let mut noise = Noise(seed);
        let mut guarded = |len: usize| Guarded::input(noise.values(len));
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
            bias: noise.values(geometry.bias_len()),
            activation: noise.pick(&activations),
            with: [0; 4].map(|_| noise.below(2) == 1),
        }
    }

    pub fn load(&self) -> Option<Load<'_>> {
        let (scale, shift) = (&self.scale[..], &self.shift[..]);
        self.with[0].then_some(Load { scale, shift, activation: Activation::RELU })
    }

    pub fn run<P: Passes<T>>(&self, parallel: &dyn Parallel) -> Outputs {
        let geometry = self.geometry;
        let weight = P::packed(&geometry, Operand::Forward, &self.master);
        let mut y = Guarded::<T>::output(geometry.out_len());
        let forward = Forward {
            geometry,
            x: self.x.get(),
            load: self.load(),
            weight: &weight,
            bias: self.with[1].then_some(&self.bias[..]),
            residual: self.with[2].then(|| self.residual.get()),
            activation: self.activation,
            statistics: self.with[3],
            y: y.get_mut(),
        };
        let moments = P::forward(forward, parallel);

        let weight = P::packed(&geometry, Operand::GradInput, &self.master);
        let mut grad_x = Guarded::<T>::output(geometry.in_len());
        let grad_input = GradInput {
            geometry,
            grad_y: self.grad_y.get(),
            weight: &weight,
            add: self.with[2].then(|| self.add.get()),
            grad_x: grad_x.get_mut(),
        };
        P::grad_input(grad_input, parallel);
        let moments = moments.map(|Moments { count, mean, squares }| (count, mean, squares));
        Outputs { y: floats(y.checked()), moments, grad_x: floats(grad_x.checked()) }
    }

    /// Calls `each` with the indices of each multiplication: of `x`, of the weight and of `y`.
    pub fn products(&self, mut each: impl FnMut(usize, usize, usize)) {
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
                let Geometry { in_channels, out_channels, .. } = g.of_group();
                for o in 0..g.out_channels {
                    let (group, of_group) = (o / out_channels, o % out_channels);
                    for i in 0..in_channels {
                        let weight = (of_group * g.taps() + tap) * in_channels + i;
                        let x = pixel * g.in_channels + group * in_channels + i;
                        each(x, weight, out * g.out_channels + o);
                    }
                }
            }
        }
    }

    /// Compares with the definition of a convolution that multiplies as `M`.
    pub fn check<M: Number>(&self, outputs: &Outputs) {
        let g = self.geometry;
        let round = |value: f32| f64::from(M::from_f32(value).to_f32());
        let weight: Vec<f64> = self.master.iter().map(|&value| round(value)).collect();
        let loaded = |(i, x): (usize, &T)| match self.with[0] {
            true => {
                let c = i % g.in_channels;
                round(x.to_f32().mul_add(self.scale[c], self.shift[c]).max(0.0))
            }
            false => f64::from(x.to_f32()),
        };
        let x: Vec<f64> = self.x.get().iter().enumerate().map(loaded).collect();
        let grad: Vec<f64> = self.grad_y.get().iter().map(|v| f64::from(v.to_f32())).collect();
        let (mut y, mut grad_x) = (vec![0.0; g.out_len()], vec![0.0; g.in_len()]);
        self.products(|i, w, o| {
            y[o] += x[i] * weight[w];
            grad_x[i] += grad[o] * weight[w];
        });
        for (o, y) in y.iter_mut().enumerate() {
            *y += if self.with[1] { f64::from(self.bias[o % g.bias_len()]) } else { 0.0 };
            *y += if self.with[2] { f64::from(self.residual.get()[o].to_f32()) } else { 0.0 };
            let Activation { slope, max } = self.activation;
            *y = if *y > 0.0 { y.min(f64::from(max)) } else { *y * f64::from(slope) };
        }
        for (i, grad) in grad_x.iter_mut().enumerate() {
            *grad += if self.with[2] { f64::from(self.add.get()[i].to_f32()) } else { 0.0 };
        }
        self.close::<M>("y", &outputs.y, &y);
        self.close::<M>("grad_x", &outputs.grad_x, &grad_x);
        assert_eq!(outputs.moments.is_some(), self.with[3]);
        if let Some((count, mean, squares)) = &outputs.moments {
            check_moments(&outputs.y, *count, mean, squares);
        }
    }

    pub fn close<M: Number>(&self, name: &str, got: &[f32], expected: &[f64]) {
        let unit = rounding::<T>();
        // The rounding of the load depends on whether its multiply and add are fused.
        let g = self.geometry;
        let terms = (g.taps() * g.in_channels.max(g.out_channels)) as f64;
        let slack = 2e-6 * terms.sqrt() + if self.with[0] { 3.0 * rounding::<M>() } else { 0.0 };
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

/// The relative error of a stored number.
fn rounding<T: Number>() -> f64 {
    if T::PER_WORD == 2 {
        1.0 / 250.0
    } else {
        1e-6
    }
}

pub fn check_moments(y: &[f32], count: f64, mean: &[f64], squares: &[f64]) {
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
