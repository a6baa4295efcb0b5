//! Batch norm with ReLU, with and without a residual that is added before the activation.

use divan::counter::BytesCount;
use divan::{black_box, Bencher};
use half::bf16;
use proprelu::activation::Activation;
use proprelu::cpu::{Number, Serial};
use proprelu::kernels::cpu::batch_norm::{Backward, Forward, Mask, Shape};

use super::problem::wave;

/// Batch, height, width, channels.
const SHAPES: [[usize; 4]; 9] = [
    [128, 32, 32, 16],
    [128, 16, 16, 32],
    [128, 8, 8, 64],
    [32, 32, 32, 96],
    [32, 4, 4, 576],
    [32, 2, 2, 960],
    [32, 56, 56, 64],
    [32, 14, 14, 512],
    [32, 7, 7, 2048],
];

#[divan::bench(types = [f32, bf16], args = SHAPES)]
fn forward<T: Number>(bencher: Bencher, shape: [usize; 4]) {
    time_forward::<T>(bencher, shape, false);
}

#[divan::bench(types = [f32, bf16], args = SHAPES)]
fn forward_with_residual<T: Number>(bencher: Bencher, shape: [usize; 4]) {
    time_forward::<T>(bencher, shape, true);
}

#[divan::bench(types = [f32, bf16], args = SHAPES)]
fn backward<T: Number>(bencher: Bencher, shape: [usize; 4]) {
    time_backward::<T>(bencher, shape, false);
}

#[divan::bench(types = [f32, bf16], args = SHAPES)]
fn backward_with_residual<T: Number>(bencher: Bencher, shape: [usize; 4]) {
    time_backward::<T>(bencher, shape, true);
}

/// Activations and their gradients, and one value for each channel.
struct Tensors<T> {
    shape: Shape,
    x: Vec<T>,
    y: Vec<T>,
    residual: Vec<T>,
    grad_y: Vec<T>,
    grad_x: Vec<T>,
    grad_residual: Vec<T>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    save_mean: Vec<f32>,
    save_invstd: Vec<f32>,
    grad_weight: Vec<f32>,
    grad_bias: Vec<f32>,
}

impl<T: Number> Tensors<T> {
    fn new([batch, height, width, channels]: [usize; 4]) -> Self {
        let shape = Shape { rows: batch * height * width, channels };
        let activation = |step| wave(shape.rows * channels, step);
        let vector = |value| vec![value; channels];
        Tensors {
            shape,
            x: activation(0.7),
            y: activation(0.7),
            residual: activation(2.1),
            grad_y: activation(1.3),
            grad_x: activation(0.7),
            grad_residual: activation(0.7),
            weight: vector(1.5),
            bias: vector(0.1),
            save_mean: vector(0.0),
            save_invstd: vector(1.0),
            grad_weight: vector(0.0),
            grad_bias: vector(0.0),
        }
    }

    /// Bytes of some passes over an activation.
    fn bytes(&self, passes: usize) -> BytesCount {
        BytesCount::new(passes * self.x.len() * size_of::<T>())
    }

    fn forward(&mut self, with_residual: bool) {
        let forward = Forward {
            shape: self.shape,
            eps: 1e-5,
            activation: Activation::RELU,
            x: black_box(&self.x),
            moments: None,
            weight: Some(&self.weight),
            bias: Some(&self.bias),
            residual: with_residual.then_some(&self.residual[..]),
            y: black_box(&mut self.y),
            save_mean: &mut self.save_mean,
            save_invstd: &mut self.save_invstd,
        };
        forward.run(&Serial).expect("shapes that fit");
    }

    fn backward(&mut self, with_residual: bool) {
        let mask = match with_residual {
            true => Mask::Output(&self.y),
            false => Mask::Recomputed { bias: Some(&self.bias) },
        };
        let backward = Backward {
            shape: self.shape,
            grad_y: black_box(&self.grad_y),
            activation: Activation::RELU,
            mask,
            sums: None,
            x: black_box(&self.x),
            weight: Some(&self.weight),
            save_mean: &self.save_mean,
            save_invstd: &self.save_invstd,
            grad_x: black_box(&mut self.grad_x),
            grad_residual: with_residual.then_some(&mut self.grad_residual[..]),
            grad_weight: &mut self.grad_weight,
            grad_bias: &mut self.grad_bias,
        };
        backward.run(&Serial).expect("shapes that fit");
    }
}

fn time_forward<T: Number>(bencher: Bencher, shape: [usize; 4], with_residual: bool) {
    let mut tensors = Tensors::<T>::new(shape);
    let bytes = tensors.bytes(if with_residual { 4 } else { 3 });
    bencher.counter(bytes).bench_local(|| tensors.forward(with_residual));
}

fn time_backward<T: Number>(bencher: Bencher, shape: [usize; 4], with_residual: bool) {
    let mut tensors = Tensors::<T>::new(shape);
    tensors.forward(with_residual);
    let bytes = tensors.bytes(if with_residual { 7 } else { 5 });
    bencher.counter(bytes).bench_local(|| tensors.backward(with_residual));
}
