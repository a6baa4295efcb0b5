//! Depthwise convolution: the layers of MobileNetV2, and two with larger kernels.

use divan::{black_box, Bencher};
use half::bf16;
use proprelu::activation::Activation;
use proprelu::cpu::{Number, Serial};
use proprelu::kernels::cpu::convolution::depthwise::{Forward, GradInput, GradWeight};

use super::problem::{Problem, Shape};

const SHAPES: [Shape; 12] = [
    depthwise(32, 32, 3, 1),
    depthwise(96, 32, 3, 2),
    depthwise(144, 16, 3, 1),
    depthwise(144, 16, 3, 2),
    depthwise(192, 8, 3, 1),
    depthwise(192, 8, 3, 2),
    depthwise(384, 4, 3, 1),
    depthwise(576, 4, 3, 1),
    depthwise(576, 4, 3, 2),
    depthwise(960, 2, 3, 1),
    depthwise(144, 16, 5, 1),
    depthwise(144, 16, 5, 2),
];

const fn depthwise(channels: usize, size: usize, kernel: usize, stride: usize) -> Shape {
    let shape = Shape::new("mobilenet_v2", 32, [channels; 2], size, kernel, stride);
    Shape { groups: channels, ..shape }
}

#[divan::bench(types = [f32, bf16], args = SHAPES)]
fn forward<T: Number>(bencher: Bencher, shape: Shape) {
    time_forward::<T>(bencher, shape, false);
}

#[divan::bench(types = [f32, bf16], args = SHAPES)]
fn forward_with_moments<T: Number>(bencher: Bencher, shape: Shape) {
    time_forward::<T>(bencher, shape, true);
}

fn time_forward<T: Number>(bencher: Bencher, shape: Shape, statistics: bool) {
    let mut problem = Problem::<T>::new(&shape);
    bencher.counter(problem.bytes()).bench_local(|| {
        let forward = Forward {
            geometry: problem.geometry,
            x: black_box(&problem.x),
            weight: black_box(&problem.master),
            scale: None,
            bias: None,
            activation: Activation::IDENTITY,
            statistics,
            y: black_box(&mut problem.y),
        };
        forward.run(&Serial)
    });
}

#[divan::bench(types = [f32, bf16], args = SHAPES)]
fn grad_input<T: Number>(bencher: Bencher, shape: Shape) {
    let mut problem = Problem::<T>::new(&shape);
    bencher.counter(problem.bytes()).bench_local(|| {
        let grad_input = GradInput {
            geometry: problem.geometry,
            grad_y: black_box(&problem.grad_y),
            weight: black_box(&problem.master),
            add: None,
            grad_x: black_box(&mut problem.grad_x),
        };
        grad_input.run(&Serial)
    });
}

#[divan::bench(types = [f32, bf16], args = SHAPES)]
fn grad_weight<T: Number>(bencher: Bencher, shape: Shape) {
    let mut problem = Problem::<T>::new(&shape);
    bencher.counter(problem.bytes()).bench_local(|| {
        let grad_weight = GradWeight {
            geometry: problem.geometry,
            x: black_box(&problem.x),
            grad_y: black_box(&problem.grad_y),
            grad_weight: black_box(&mut problem.grad_weight),
            grad_bias: None,
        };
        grad_weight.run(&Serial)
    });
}
