//! Depthwise convolution.

use half::bf16;
use proprelu::activation::Activation;
use proprelu::cpu::{Number, Parallel};
use proprelu::kernels::cpu::convolution::{depthwise, Geometry};

use super::report;

/// Channels, height and width, stride and kernel size of MobileNetV2's depthwise convolutions, and
/// of two larger kernels.
const DEPTHWISE: [[usize; 4]; 12] = [
    [32, 32, 1, 3],
    [96, 32, 2, 3],
    [144, 16, 1, 3],
    [144, 16, 2, 3],
    [192, 8, 1, 3],
    [192, 8, 2, 3],
    [384, 4, 1, 3],
    [576, 4, 1, 3],
    [576, 4, 2, 3],
    [960, 2, 1, 3],
    [144, 16, 1, 5],
    [144, 16, 2, 5],
];

pub fn time(only: &str, parallel: &dyn Parallel) {
    println!("depthwise convolution, batch 32: fastest / median ms (GB/s of the fastest)");
    for shape in DEPTHWISE {
        time_shape::<f32>("f32 ", shape, only, parallel);
        time_shape::<bf16>("bf16", shape, only, parallel);
    }
}

fn time_shape<T: Number>(
    kind: &str,
    [channels, size, stride, kernel]: [usize; 4],
    only: &str,
    parallel: &dyn Parallel,
) {
    let name = format!("depthwise {kind} {channels:3} at {size:2} by {kernel} / {stride}");
    if !name.contains(only) {
        return;
    }
    print!("{name}");
    let geometry = Geometry {
        batch: 32,
        in_channels: channels,
        out_channels: channels,
        in_size: [size; 2],
        kernel_size: [kernel; 2],
        stride: [stride; 2],
        padding: [kernel / 2; 2],
        dilation: [1; 2],
        groups: channels,
        num_blocks: 1,
    };
    let wave = |len: usize, scale: f32| -> Vec<T> {
        (0..len).map(|i| T::from_f32((i as f32 * scale).sin())).collect()
    };
    let (x, grad_y) = (wave(geometry.in_len(), 0.7), wave(geometry.out_len(), 1.3));
    let (mut y, mut grad_x) = (grad_y.clone(), x.clone());
    let weight: Vec<f32> = (0..geometry.weight_len()).map(|i| (i as f32).cos()).collect();
    let mut grad_weight = weight.clone();
    let (x, grad_y, weight) = (&x[..], &grad_y[..], &weight[..]);
    let bytes = (geometry.in_len() + geometry.out_len()) * size_of::<T>();
    for statistics in [false, true] {
        let (scale, bias, activation) = (None, None, Activation::IDENTITY);
        report(if statistics { " | + moments" } else { " | forward" }, bytes, || {
            let y = &mut y[..];
            let forward =
                depthwise::Forward { geometry, x, weight, scale, bias, activation, statistics, y };
            forward.run(parallel).expect("forward");
        });
    }
    report(" | grad_input", bytes, || {
        let (add, grad_x) = (None, &mut grad_x[..]);
        let backward = depthwise::GradInput { geometry, grad_y, weight, add, grad_x };
        backward.run(parallel).expect("grad_input");
    });
    report(" | grad_weight", bytes, || {
        let (grad_weight, grad_bias) = (&mut grad_weight[..], None);
        let backward = depthwise::GradWeight { geometry, x, grad_y, grad_weight, grad_bias };
        backward.run(parallel).expect("grad_weight");
    });
    println!();
}
