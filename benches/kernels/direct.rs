//! Direct convolution: layers of ResNet-20, VGG-16, ResNet-18 and MobileNetV2.

use divan::{black_box, Bencher};
use proprelu::cpu::Serial;
use proprelu::kernels::cpu::convolution::direct::{GradWeight, PackedWeight};
use proprelu::kernels::cpu::convolution::Operand;

use super::problem::{Bf16, Bf16AsF32, Problem, Shape, Types, F32};

const SHAPES: [Shape; 23] = [
    Shape::new("resnet20", 128, [3, 16], 32, 3, 1),
    Shape::new("resnet20", 128, [16, 16], 32, 3, 1),
    Shape::new("resnet20", 128, [16, 32], 32, 3, 2),
    Shape::new("resnet20", 128, [16, 32], 32, 1, 2),
    Shape::new("resnet20", 128, [32, 32], 16, 3, 1),
    Shape::new("resnet20", 128, [32, 64], 16, 3, 2),
    Shape::new("resnet20", 128, [64, 64], 8, 3, 1),
    Shape::new("vgg16", 128, [3, 64], 32, 3, 1),
    Shape::new("vgg16", 128, [64, 64], 32, 3, 1),
    Shape::new("vgg16", 128, [64, 128], 16, 3, 1),
    Shape::new("vgg16", 128, [256, 256], 8, 3, 1),
    Shape::new("vgg16", 128, [512, 512], 4, 3, 1),
    Shape::new("vgg16", 128, [512, 512], 2, 3, 1),
    Shape::new("resnet18", 32, [3, 64], 64, 7, 2),
    Shape::new("resnet18", 32, [64, 64], 16, 3, 1),
    Shape::new("resnet18", 32, [64, 128], 16, 3, 2),
    Shape::new("resnet18", 32, [512, 512], 2, 3, 1),
    Shape::new("mobilenet_v2", 32, [16, 96], 32, 1, 1),
    Shape::new("mobilenet_v2", 32, [96, 24], 32, 1, 1),
    Shape::new("mobilenet_v2", 32, [144, 32], 16, 1, 1),
    Shape::new("mobilenet_v2", 32, [64, 384], 8, 1, 1),
    Shape::new("mobilenet_v2", 32, [960, 160], 4, 1, 1),
    Shape::new("mobilenet_v2", 32, [320, 1280], 4, 1, 1),
];

#[divan::bench(types = [F32, Bf16, Bf16AsF32], args = SHAPES)]
fn forward<T: Types>(bencher: Bencher, shape: Shape) {
    time_forward::<T>(bencher, shape, false);
}

#[divan::bench(types = [F32, Bf16, Bf16AsF32], args = SHAPES)]
fn forward_with_moments<T: Types>(bencher: Bencher, shape: Shape) {
    time_forward::<T>(bencher, shape, true);
}

fn time_forward<T: Types>(bencher: Bencher, shape: Shape, statistics: bool) {
    let mut problem = Problem::<T::Activation>::new(&shape);
    let weight = packed::<T>(&problem, Operand::Forward);
    bencher
        .counter(problem.flops())
        .bench_local(|| problem.forward(&weight, None, statistics).run(&Serial));
}

#[divan::bench(types = [F32, Bf16, Bf16AsF32], args = SHAPES)]
fn grad_input<T: Types>(bencher: Bencher, shape: Shape) {
    let mut problem = Problem::<T::Activation>::new(&shape);
    let weight = packed::<T>(&problem, Operand::GradInput);
    bencher.counter(problem.flops()).bench_local(|| problem.grad_input(&weight).run(&Serial));
}

#[divan::bench(types = [F32, Bf16, Bf16AsF32], args = SHAPES)]
fn grad_weight<T: Types>(bencher: Bencher, shape: Shape) {
    let mut problem = Problem::<T::Activation>::new(&shape);
    bencher.counter(problem.flops()).bench_local(|| {
        let grad_weight = GradWeight {
            geometry: problem.geometry,
            x: black_box(&problem.x),
            load: None,
            grad_y: black_box(&problem.grad_y),
            grad_weight: black_box(&mut problem.grad_weight),
            grad_bias: None,
        };
        grad_weight.run::<T::Multiplied>(&Serial)
    });
}

fn packed<T: Types>(
    problem: &Problem<T::Activation>,
    operand: Operand,
) -> PackedWeight<T::Multiplied> {
    let mut weight = PackedWeight::new(&problem.geometry, operand).expect("a valid geometry");
    weight.pack(&problem.master, None).expect("a master weight of this geometry");
    weight
}
