//! A convolution with everything that its passes take, and the sums of its definition in f64.

use super::super::{Forward, GradInput, GradWeight};
use crate::activation::Activation;
use crate::cpu::testing::{floats, noise, Guarded};
use crate::cpu::{Number, Parallel};
use crate::kernels::cpu::batch_norm::Moments;
use crate::kernels::cpu::convolution::Geometry;

pub(super) struct Case<T> {
    pub(super) geometry: Geometry,
    pub(super) x: Guarded<T>,
    pub(super) grad_y: Guarded<T>,
    pub(super) weight: Guarded<f32>,
    pub(super) scale: Option<Guarded<f32>>,
    pub(super) bias: Option<Guarded<f32>>,
    pub(super) activation: Activation,
    pub(super) add: Option<Guarded<T>>,
}

#[derive(PartialEq, Debug)]
pub(super) struct Outputs {
    pub(super) y: Vec<f32>,
    pub(super) moments: Option<Moments>,
    pub(super) grad_x: Vec<f32>,
    pub(super) grad_weight: Vec<f32>,
    pub(super) grad_bias: Vec<f32>,
}

impl<T: Number> Case<T> {
    pub(super) fn new(seed: u64, geometry: Geometry, extras: bool, activation: Activation) -> Self {
        let channels = geometry.in_channels;
        let of = |k: u64, len: usize| noise(seed * 8 + k, len);
        let vector = |k| extras.then(|| Guarded::input(of(k, channels)));
        Case {
            geometry,
            x: Guarded::input(of(0, geometry.in_len())),
            grad_y: Guarded::input(of(1, geometry.out_len())),
            weight: Guarded::input(of(2, geometry.weight_len())),
            scale: vector(3),
            bias: vector(4),
            activation,
            add: extras.then(|| Guarded::input(of(5, geometry.in_len()))),
        }
    }

    pub(super) fn run(&self, parallel: &dyn Parallel) -> Outputs {
        let geometry = self.geometry;
        let weight = self.weight.get();
        let mut y = Guarded::<T>::output(geometry.out_len());
        let forward = Forward {
            geometry,
            x: self.x.get(),
            weight,
            scale: self.scale.as_ref().map(Guarded::get),
            bias: self.bias.as_ref().map(Guarded::get),
            activation: self.activation,
            statistics: true,
            y: y.get_mut(),
        };
        let moments = forward.run(parallel).unwrap();
        let mut grad_x = Guarded::<T>::output(geometry.in_len());
        let (grad_y, add) = (self.grad_y.get(), self.add.as_ref().map(Guarded::get));
        let backward = GradInput { geometry, grad_y, weight, add, grad_x: grad_x.get_mut() };
        backward.run(parallel).unwrap();
        let mut grad_weight = Guarded::<f32>::output(geometry.weight_len());
        let mut grad_bias = Guarded::<f32>::output(geometry.out_channels);
        let backward = GradWeight {
            geometry,
            x: self.x.get(),
            grad_y,
            grad_weight: grad_weight.get_mut(),
            grad_bias: Some(grad_bias.get_mut()),
        };
        backward.run(parallel).unwrap();
        let (grad_weight, grad_bias) = (floats(grad_weight.checked()), floats(grad_bias.checked()));
        Outputs {
            y: floats(y.checked()),
            moments,
            grad_x: floats(grad_x.checked()),
            grad_weight,
            grad_bias,
        }
    }

    /// Calls `each` with the indices of each multiplication: of `x`, of `y` and of the weight, and
    /// the channel.
    pub(super) fn products(&self, mut each: impl FnMut(usize, usize, usize, usize)) {
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
    pub(super) fn check(&self, got: &Outputs, unit: f64) {
        let wide = |values: &[T]| values.iter().map(|v| v.to_f32() as f64).collect::<Vec<f64>>();
        let g = self.geometry;
        let channels = g.in_channels;
        let (x, grad_y) = (wide(self.x.get()), wide(self.grad_y.get()));
        let weight = self.weight.get().iter().map(|&w| T::from_f32(w)).collect::<Vec<T>>();
        let weight = wide(&weight);
        let of = |values: &Option<Guarded<f32>>, c: usize, or: f64| {
            values.as_ref().map_or(or, |values| values.get()[c] as f64)
        };

        let mut y: Vec<f64> = (0..g.out_len()).map(|i| of(&self.bias, i % channels, 0.0)).collect();
        let mut grad_x = self.add.as_ref().map_or(vec![0.0; g.in_len()], |add| wide(add.get()));
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
pub(super) fn close(name: &str, got: &[f32], expected: &[f64], tolerance: impl Fn(f64) -> f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let difference = (*got as f64 - expected).abs();
        assert!(difference <= tolerance(*expected), "{name} {i}: {got}, expected {expected}");
    }
}

/// The moments must be those of the stored outputs.
pub(super) fn check_moments(got: &Moments, y: &[f32], channels: usize) {
    for c in 0..channels {
        let column = || y.iter().skip(c).step_by(channels).map(|&y| y as f64);
        let n = column().count() as f64;
        let mean = column().sum::<f64>() / n;
        let squares = column().map(|y| (y - mean) * (y - mean)).sum::<f64>();
        assert_eq!(got.count, n);
        let deviation = (squares / n).sqrt();
        assert!((got.mean[c] - mean).abs() <= 1e-4 * deviation + 1e-12, "mean of {c}");
        // Sums of some hundred numbers in fp32.
        let tolerance = 1e-4 * squares + 1e-12;
        assert!((got.squares[c] - squares).abs() <= tolerance, "{} {squares}", got.squares[c]);
    }
}
