//! Convolution with the tiles of AMX: the layers of ResNet-20, VGG-16, ResNet-18 and a 1x1 layer of
//! ResNet-50. Without AMX nothing is timed.

use divan::{black_box, Bencher};
use half::bf16;
use proprelu::activation::Activation;
use proprelu::cpu::{processor, Serial};
use proprelu::kernels::cpu::convolution::amx::{GradWeight, PackedWeight};
use proprelu::kernels::cpu::convolution::{Load, Operand};

use super::problem::{Problem, Shape};

fn shapes() -> Vec<Shape> {
    let all = [
        Shape::new("resnet20", 128, [3, 16], 32, 3, 1),
        Shape::new("resnet20", 128, [16, 16], 32, 3, 1),
        Shape::new("resnet20", 128, [16, 32], 32, 3, 2),
        Shape::new("resnet20", 128, [32, 32], 16, 3, 1),
        Shape::new("resnet20", 128, [64, 64], 8, 3, 1),
        Shape::new("vgg16", 128, [128, 128], 16, 3, 1),
        Shape::new("vgg16", 128, [256, 256], 8, 3, 1),
        Shape::new("vgg16", 128, [512, 512], 4, 3, 1),
        Shape::new("resnet18", 16, [64, 64], 56, 3, 1),
        Shape::new("resnet18", 16, [256, 256], 14, 3, 1),
        Shape::new("resnet50", 16, [256, 64], 56, 1, 1),
    ];
    all.into_iter().filter(|_| processor::has_tiles()).collect()
}

#[divan::bench(args = shapes())]
fn pack(bencher: Bencher, shape: Shape) {
    let problem = Problem::<bf16>::new(&shape);
    let mut weight = packed(&problem, Operand::Forward);
    bencher.bench_local(|| weight.pack(black_box(&problem.master), None));
}

#[divan::bench(args = shapes())]
fn forward(bencher: Bencher, shape: Shape) {
    time_forward(bencher, shape, false);
}

/// The batch norm before the convolution is applied on load, moments for the one after it are
/// taken.
#[divan::bench(args = shapes())]
fn forward_with_batch_norm(bencher: Bencher, shape: Shape) {
    time_forward(bencher, shape, true);
}

fn time_forward(bencher: Bencher, shape: Shape, batch_norm: bool) {
    let mut problem = Problem::<bf16>::new(&shape);
    let weight = packed(&problem, Operand::Forward);
    let vectors = (vec![1.1; shape.in_channels], vec![0.1; shape.in_channels]);
    bencher.counter(problem.flops()).bench_local(|| {
        problem.forward(&weight, batch_norm.then(|| load(&vectors)), batch_norm).run(&Serial)
    });
}

#[divan::bench(args = shapes())]
fn grad_input(bencher: Bencher, shape: Shape) {
    let mut problem = Problem::<bf16>::new(&shape);
    let weight = packed(&problem, Operand::GradInput);
    bencher.counter(problem.flops()).bench_local(|| problem.grad_input(&weight).run(&Serial));
}

#[divan::bench(args = shapes())]
fn grad_weight(bencher: Bencher, shape: Shape) {
    let mut problem = Problem::<bf16>::new(&shape);
    bencher.counter(problem.flops()).bench_local(|| {
        let grad_weight = GradWeight {
            geometry: problem.geometry,
            x: black_box(&problem.x),
            load: None,
            grad_y: black_box(&problem.grad_y),
            grad_weight: black_box(&mut problem.grad_weight),
            grad_bias: None,
        };
        grad_weight.run(&Serial)
    });
}

fn load((scale, shift): &(Vec<f32>, Vec<f32>)) -> Load<'_> {
    Load { scale, shift, activation: Activation::RELU }
}

fn packed(problem: &Problem<bf16>, operand: Operand) -> PackedWeight {
    let mut weight = PackedWeight::new(&problem.geometry, operand).expect("a valid geometry");
    weight.pack(&problem.master, None).expect("a master weight of this geometry");
    weight
}
