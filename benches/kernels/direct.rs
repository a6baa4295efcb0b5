//! Times direct convolution: the shapes of ResNet-20, VGG-16, ResNet-18 and MobileNetV2.

use half::bf16;
use proprelu::activation::Activation;
use proprelu::cpu::{Number, Parallel};
use proprelu::kernels::cpu::convolution::direct::{Forward, GradInput, GradWeight, PackedWeight};
use proprelu::kernels::cpu::convolution::{Geometry, Operand};

use super::report;

/// Name, batch, channels in and out, size, kernel, stride.
type Shape = (&'static str, usize, [usize; 2], usize, usize, usize);

const SHAPES: [Shape; 23] = [
    ("resnet20", 128, [3, 16], 32, 3, 1),
    ("resnet20", 128, [16, 16], 32, 3, 1),
    ("resnet20", 128, [16, 32], 32, 3, 2),
    ("resnet20", 128, [16, 32], 32, 1, 2),
    ("resnet20", 128, [32, 32], 16, 3, 1),
    ("resnet20", 128, [32, 64], 16, 3, 2),
    ("resnet20", 128, [64, 64], 8, 3, 1),
    ("vgg16", 128, [3, 64], 32, 3, 1),
    ("vgg16", 128, [64, 64], 32, 3, 1),
    ("vgg16", 128, [64, 128], 16, 3, 1),
    ("vgg16", 128, [256, 256], 8, 3, 1),
    ("vgg16", 128, [512, 512], 4, 3, 1),
    ("vgg16", 128, [512, 512], 2, 3, 1),
    ("resnet18", 32, [3, 64], 64, 7, 2),
    ("resnet18", 32, [64, 64], 16, 3, 1),
    ("resnet18", 32, [64, 128], 16, 3, 2),
    ("resnet18", 32, [512, 512], 2, 3, 1),
    ("mobilenet_v2", 32, [16, 96], 32, 1, 1),
    ("mobilenet_v2", 32, [96, 24], 32, 1, 1),
    ("mobilenet_v2", 32, [144, 32], 16, 1, 1),
    ("mobilenet_v2", 32, [64, 384], 8, 1, 1),
    ("mobilenet_v2", 32, [960, 160], 4, 1, 1),
    ("mobilenet_v2", 32, [320, 1280], 4, 1, 1),
];

/// Times the shapes whose line has `only` in it.
pub fn time(only: &str, parallel: &dyn Parallel) {
    println!("direct convolution: fastest / median ms (GFLOP/s of the fastest)");
    for shape in SHAPES {
        time_shape::<f32>("f32 ", shape, only, parallel);
        time_shape::<bf16>("bf16", shape, only, parallel);
    }
}

fn time_shape<T: Number>(kind: &str, shape: Shape, only: &str, parallel: &dyn Parallel) {
    let (network, batch, [in_channels, out_channels], size, kernel, stride) = shape;
    let name = format!(
        "direct {kind} {network:<12} {batch:3}x{size:<2} {in_channels:4}->{out_channels:<4} \
         {kernel}x{kernel} s{stride}"
    );
    if !name.contains(only) {
        return;
    }
    let geometry = Geometry {
        batch,
        in_channels,
        out_channels,
        in_size: [size; 2],
        kernel_size: [kernel; 2],
        stride: [stride; 2],
        padding: [kernel / 2; 2],
        dilation: [1; 2],
        groups: 1,
        num_blocks: 1,
    };
    let wave = |len: usize| (0..len).map(|i| T::from_f32((i as f32 * 0.7).sin()));
    let (mut x, mut y): (Vec<T>, Vec<T>) =
        (wave(geometry.in_len()).collect(), wave(geometry.out_len()).collect());
    let master: Vec<f32> = (0..geometry.weight_len()).map(|i| (i as f32).sin() * 0.1).collect();
    let packed = |operand| {
        let mut weight = PackedWeight::<T>::new(&geometry, operand).expect("a geometry");
        weight.pack(&master, None).expect("a weight");
        weight
    };
    print!("{name}");
    let flops = 2 * geometry.macs();
    let weight = packed(Operand::Forward);
    for statistics in [false, true] {
        let label = if statistics { " + statistics" } else { " forward" };
        report(label, flops, || {
            let forward = Forward {
                geometry,
                x: &x,
                load: None,
                weight: &weight,
                bias: None,
                residual: None,
                activation: Activation::IDENTITY,
                statistics,
                y: &mut y,
            };
            forward.run(parallel).expect("forward");
        });
    }
    let weight = packed(Operand::GradInput);
    report(" grad_input", flops, || {
        let (grad_y, grad_x) = (&y[..], &mut x[..]);
        let grad_input = GradInput { geometry, grad_y, weight: &weight, add: None, grad_x };
        grad_input.run(parallel).expect("grad_input");
    });
    let mut grad_weight = master.clone();
    report(" grad_weight", flops, || {
        let (x, grad_y, grad_weight) = (&x[..], &y[..], &mut grad_weight[..]);
        let (load, grad_bias) = (None, None);
        let pass = GradWeight { geometry, x, load, grad_y, grad_weight, grad_bias };
        pass.run(parallel).expect("grad_weight");
    });
    println!();
}
