//! The gradients of weight and bias by their definition in f64.

use crate::activation::Activation;
use crate::cpu::testing::{noise, Guarded};
use crate::cpu::Number;
use crate::error::Result;
use crate::kernels::cpu::convolution::{Geometry, Load};

/// A convolution with what the gradients of its weight and bias depend on.
pub struct GradWeightCase<T> {
    geometry: Geometry,
    pub x: Guarded<T>,
    grad_y: Guarded<T>,
    load: Option<(Vec<f32>, Vec<f32>, Activation)>,
}

/// The arguments of the pass.
pub struct GradWeightCall<'a, T> {
    pub geometry: Geometry,
    pub x: &'a [T],
    pub load: Option<Load<'a>>,
    pub grad_y: &'a [T],
    pub grad_weight: &'a mut [f32],
    pub grad_bias: &'a mut [f32],
}

#[derive(Debug, PartialEq)]
pub struct Gradients {
    pub grad_weight: Vec<f32>,
    pub grad_bias: Vec<f32>,
}

impl<T: Number> GradWeightCase<T> {
    pub fn new(seed: u64, geometry: Geometry, activation: Option<Activation>) -> Self {
        let channels = geometry.in_channels;
        GradWeightCase {
            geometry,
            x: Guarded::input(noise(seed * 8, geometry.in_len())),
            grad_y: Guarded::input(noise(seed * 8 + 1, geometry.out_len())),
            load: activation.map(|activation| {
                let scale = noise(seed * 8 + 2, channels).map(|v| 1.0 + v / 2.0).collect();
                (scale, noise(seed * 8 + 3, channels).collect(), activation)
            }),
        }
    }

    /// Calls `run` with the arguments of an algorithm's `GradWeight`.
    pub fn run(&self, run: impl FnOnce(GradWeightCall<T>) -> Result<()>) -> Gradients {
        let geometry = self.geometry;
        let mut grad_weight = Guarded::output(geometry.weight_len());
        let mut grad_bias = Guarded::output(geometry.bias_len());
        let call = GradWeightCall {
            geometry,
            x: self.x.get(),
            load: self.load.as_ref().map(|(scale, shift, activation)| Load {
                scale,
                shift,
                activation: *activation,
            }),
            grad_y: self.grad_y.get(),
            grad_weight: grad_weight.get_mut(),
            grad_bias: grad_bias.get_mut(),
        };
        run(call).unwrap();
        let (grad_weight, grad_bias) = (grad_weight.checked(), grad_bias.checked());
        Gradients { grad_weight: grad_weight.to_vec(), grad_bias: grad_bias.to_vec() }
    }

    /// The input of the definition.
    fn loaded<M: Number>(&self) -> Vec<f64> {
        let x = self.x.get().iter().enumerate().map(|(i, x)| {
            let Some((scale, shift, Activation { slope, max })) = &self.load else {
                return x.to_f32();
            };
            let c = i % self.geometry.in_channels;
            let value = x.to_f32().mul_add(scale[c], shift[c]);
            let value = if value > 0.0 { value.min(*max) } else { slope * value };
            M::from_f32(value).to_f32()
        });
        x.map(f64::from).collect()
    }

    /// Compares with the definition, multiplied as `M`. The tolerance depends on the sums of absolute values.
    pub fn check<M: Number>(&self, got: &Gradients) {
        let g = self.geometry;
        let (x, [height, width]) = (self.loaded::<M>(), g.out_size());
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
        let rounded = self.load.is_some() && M::PER_WORD == 2;
        let pairs = got.grad_weight.iter().zip(&sums).chain(got.grad_bias.iter().zip(&biases));
        for (i, (got, (expected, size))) in pairs.enumerate() {
            // A rounded load may differ by an ulp of bf16 if its multiply and add are fused.
            let tolerance = 1e-5 * size + if rounded { 1e-3 * size.sqrt() } else { 0.0 };
            let error = (*got as f64 - expected).abs();
            assert!(
                error <= tolerance,
                "{g:?}, {i}: got {got}, expected {expected} +- {tolerance}"
            );
        }
    }
}
