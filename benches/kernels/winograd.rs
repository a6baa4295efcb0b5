//! Convolutions after Winograd. Rates count the multiplications of a direct convolution.

use half::bf16;
use proprelu::activation::Activation;
use proprelu::cpu::{Number, Parallel};
use proprelu::kernels::cpu::convolution::winograd::{Forward, GradInput, GradWeight, PackedWeight};
use proprelu::kernels::cpu::convolution::{Geometry, Load, Operand};

use super::report;

/// Batch, size, channels in and out.
const SHAPES: [[usize; 4]; 11] = [
    [128, 32, 16, 16],
    [128, 16, 32, 32],
    [128, 8, 64, 64],
    [128, 32, 64, 64],
    [128, 16, 128, 128],
    [128, 8, 256, 256],
    [128, 4, 512, 512],
    [32, 16, 64, 64],
    [32, 8, 128, 128],
    [32, 4, 256, 256],
    [32, 2, 512, 512],
];

pub fn time(only: &str, parallel: &dyn Parallel) {
    println!("winograd: fastest / median ms (GFLOP/s of the fastest, as of a direct kernel)");
    for shape in SHAPES {
        time_shape::<bf16>("bf16", shape, only, parallel);
    }
    for shape in &SHAPES[..3] {
        time_shape::<f32>("f32 ", *shape, only, parallel);
    }
}

fn time_shape<T: Number>(kind: &str, shape: [usize; 4], only: &str, parallel: &dyn Parallel) {
    let [batch, size, in_channels, out_channels] = shape;
    let name = format!("winograd {kind} {batch:3}x{size}x{size}x{in_channels:<3}");
    if !name.contains(only) {
        return;
    }
    let geometry = Geometry {
        batch,
        in_channels,
        out_channels,
        in_size: [size; 2],
        kernel_size: [3; 2],
        stride: [1; 2],
        padding: [1; 2],
        dilation: [1; 2],
        groups: 1,
        num_blocks: 1,
    };
    let wave = |len: usize, scale: f32| -> Vec<T> {
        (0..len).map(|i| T::from_f32((i as f32 * scale).sin())).collect()
    };
    let (x, grad_y) = (wave(geometry.in_len(), 0.7), wave(geometry.out_len(), 1.3));
    let (mut y, mut grad_x) = (grad_y.clone(), x.clone());
    let mut master = vec![0.1; geometry.weight_len()];
    let pack = |operand| PackedWeight::<T>::new(geometry, operand).expect("geometry");
    let (mut weight, mut turned) = (pack(Operand::Forward), pack(Operand::GradInput));
    let (scale, shift) = (vec![1.1; in_channels], vec![0.1; in_channels]);
    let load = Load { scale: &scale, shift: &shift, activation: Activation::RELU };

    print!("{name}");
    report(" pack", 0, || weight.pack(&master, None).expect("pack"));
    report(" turned", 0, || turned.pack(&master, None).expect("pack"));
    let flops = 2 * geometry.macs();
    for (label, fused) in [(" | forward", false), (" + batch norm", true)] {
        report(label, flops, || {
            let forward = Forward {
                geometry,
                x: &x,
                load: fused.then_some(load),
                weight: &weight,
                bias: None,
                residual: None,
                activation: Activation::IDENTITY,
                statistics: fused,
                y: &mut y,
            };
            forward.run(parallel).expect("forward");
        });
    }
    report(" | grad_input", flops, || {
        let (weight, grad_y, grad_x) = (&turned, &grad_y, &mut grad_x);
        let pass = GradInput { geometry, grad_y, weight, add: None, grad_x };
        pass.run(parallel).expect("grad_input");
    });
    for (label, load) in [(" | grad_weight", None), (" + batch norm", Some(load))] {
        report(label, flops, || {
            let (x, grad_y, grad_weight, grad_bias) = (&x, &grad_y, &mut master, None);
            let pass = GradWeight { geometry, x, load, grad_y, grad_weight, grad_bias };
            pass.run(parallel).expect("grad_weight");
        });
    }
    println!();
}
