//! Winograd convolution: the 3x3 layers of ResNet-20, VGG-16 and ResNet-18.

use divan::{black_box, Bencher};
use proprelu::activation::Activation;
use proprelu::cpu::Serial;
use proprelu::kernels::cpu::convolution::winograd::{GradWeight, PackedWeight};
use proprelu::kernels::cpu::convolution::{Load, Operand};

use super::problem::{Bf16, Bf16AsF32, Problem, Shape, Types, F32};

const SHAPES: [Shape; 11] = [
    Shape::new("resnet20", 128, [16, 16], 32, 3, 1),
    Shape::new("resnet20", 128, [32, 32], 16, 3, 1),
    Shape::new("resnet20", 128, [64, 64], 8, 3, 1),
    Shape::new("vgg16", 128, [64, 64], 32, 3, 1),
    Shape::new("vgg16", 128, [128, 128], 16, 3, 1),
    Shape::new("vgg16", 128, [256, 256], 8, 3, 1),
    Shape::new("vgg16", 128, [512, 512], 4, 3, 1),
    Shape::new("resnet18", 32, [64, 64], 16, 3, 1),
    Shape::new("resnet18", 32, [128, 128], 8, 3, 1),
    Shape::new("resnet18", 32, [256, 256], 4, 3, 1),
    Shape::new("resnet18", 32, [512, 512], 2, 3, 1),
];

#[divan::bench(types = [F32, Bf16, Bf16AsF32], args = SHAPES)]
fn pack<T: Types>(bencher: Bencher, shape: Shape) {
    let problem = Problem::<T::Activation>::new(&shape);
    let mut weight = packed::<T>(&problem, Operand::Forward);
    bencher.bench_local(|| weight.pack(black_box(&problem.master), None));
}

#[divan::bench(types = [F32, Bf16, Bf16AsF32], args = SHAPES)]
fn forward<T: Types>(bencher: Bencher, shape: Shape) {
    time_forward::<T>(bencher, shape, false);
}

/// The batch norm before the convolution is applied on load, moments for the one after it are
/// taken.
#[divan::bench(types = [F32, Bf16, Bf16AsF32], args = SHAPES)]
fn forward_with_batch_norm<T: Types>(bencher: Bencher, shape: Shape) {
    time_forward::<T>(bencher, shape, true);
}

fn time_forward<T: Types>(bencher: Bencher, shape: Shape, batch_norm: bool) {
    let mut problem = Problem::<T::Activation>::new(&shape);
    let weight = packed::<T>(&problem, Operand::Forward);
    let vectors = (vec![1.1; shape.in_channels], vec![0.1; shape.in_channels]);
    bencher.counter(problem.flops()).bench_local(|| {
        problem.forward(&weight, batch_norm.then(|| load(&vectors)), batch_norm).run(&Serial)
    });
}

#[divan::bench(types = [F32, Bf16, Bf16AsF32], args = SHAPES)]
fn grad_input<T: Types>(bencher: Bencher, shape: Shape) {
    let mut problem = Problem::<T::Activation>::new(&shape);
    let weight = packed::<T>(&problem, Operand::GradInput);
    bencher.counter(problem.flops()).bench_local(|| problem.grad_input(&weight).run(&Serial));
}

#[divan::bench(types = [F32, Bf16, Bf16AsF32], args = SHAPES)]
fn grad_weight<T: Types>(bencher: Bencher, shape: Shape) {
    time_grad_weight::<T>(bencher, shape, false);
}

#[divan::bench(types = [F32, Bf16, Bf16AsF32], args = SHAPES)]
fn grad_weight_with_batch_norm<T: Types>(bencher: Bencher, shape: Shape) {
    time_grad_weight::<T>(bencher, shape, true);
}

fn time_grad_weight<T: Types>(bencher: Bencher, shape: Shape, batch_norm: bool) {
    let mut problem = Problem::<T::Activation>::new(&shape);
    let vectors = (vec![1.1; shape.in_channels], vec![0.1; shape.in_channels]);
    bencher.counter(problem.flops()).bench_local(|| {
        let grad_weight = GradWeight {
            geometry: problem.geometry,
            x: black_box(&problem.x),
            load: batch_norm.then(|| load(&vectors)),
            grad_y: black_box(&problem.grad_y),
            grad_weight: black_box(&mut problem.grad_weight),
            grad_bias: None,
        };
        grad_weight.run::<T::Multiplied>(&Serial)
    });
}

fn load((scale, shift): &(Vec<f32>, Vec<f32>)) -> Load<'_> {
    Load { scale, shift, activation: Activation::RELU }
}

fn packed<T: Types>(
    problem: &Problem<T::Activation>,
    operand: Operand,
) -> PackedWeight<T::Multiplied> {
    let mut weight = PackedWeight::new(problem.geometry, operand).expect("a valid geometry");
    weight.pack(&problem.master, None).expect("a master weight of this geometry");
    weight
}
