//! The size of errors, packing by several threads, and wrong arguments.

use half::bf16;

use super::super::{takes, Forward, GradInput, GradWeight, PackedWeight};
use super::case::{close, geometry, Case, PLAIN};
use crate::activation::Activation;
use crate::cpu::testing::exact;
use crate::cpu::Serial;
use crate::kernels::cpu::convolution::{Geometry, Load, Operand};

/// Relative errors in the Euclidean norm, beside those of a direct convolution.
#[test]
fn errors_are_a_few_roundings() {
    let geometry = geometry(2, [32, 32], [16, 16], [1, 1]);
    let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
    let error = |got: &[f64], expected: &[f64]| {
        let difference: Vec<f64> = got.iter().zip(expected).map(|(g, e)| g - e).collect();
        norm(&difference) / norm(expected)
    };
    let half = Case::<bf16>::new(5, geometry, PLAIN);
    let single = Case::<f32>::new(5, geometry, PLAIN);
    let (x, grad_y, weight) = (exact(half.x.get()), exact(half.grad_y.get()), exact(&half.weight));
    let (mut y, mut grad_x) = (vec![0.0; geometry.out_len()], vec![0.0; geometry.in_len()]);
    let (mut grad_weight, mut direct) = (vec![0.0; geometry.weight_len()], y.clone());
    half.products(|out, at, tap| {
        y[out] += x[at] * weight[tap];
        direct[out] += x[at] * bf16::from_f64(weight[tap]).to_f64();
        grad_x[at] += grad_y[out] * weight[tap];
        grad_weight[tap] += x[at] * grad_y[out];
    });
    direct.iter_mut().for_each(|y| *y = bf16::from_f64(*y).to_f64());
    let outputs = half.run::<bf16>(&Serial);
    let errors = [
        error(&exact(outputs.y.checked()), &y),
        error(&exact(outputs.grad_x.checked()), &grad_x),
        error(&exact(outputs.grad_weight.checked()), &grad_weight),
    ];
    println!("bf16: {errors:?}; direct {}", error(&direct, &y));
    assert!(errors.iter().all(|&error| error < 0.006), "{errors:?}");

    let mut y = vec![0.0; geometry.out_len()];
    let mut direct = vec![0.0f32; geometry.out_len()];
    let x = exact(single.x.get());
    single.products(|out, at, tap| {
        y[out] += x[at] * weight[tap];
        direct[out] += x[at] as f32 * weight[tap] as f32;
    });
    let got = error(&exact(single.run::<f32>(&Serial).y.checked()), &y);
    println!("f32: {got:e}; direct {:e}", error(&exact(&direct), &y));
    assert!(got < 1e-6, "{got}");
}

#[test]
fn rows_may_be_packed_by_threads() {
    let geometry = geometry(1, [20, 50], [4, 4], [1, 1]);
    let case = Case::<bf16>::new(6, geometry, PLAIN);
    for operand in [Operand::Forward, Operand::GradInput] {
        let mut whole = PackedWeight::<bf16>::new(geometry, operand).unwrap();
        whole.pack(&case.weight, Some(&[1.0; 50])).unwrap();
        let parts = PackedWeight::<bf16>::new(geometry, operand).unwrap();
        std::thread::scope(|scope| {
            for (i, rows) in case.weight.chunks(16 * 180).enumerate() {
                let parts = &parts;
                // SAFETY: each thread has rows of its own.
                scope.spawn(move || unsafe { parts.pack_rows(16 * i, rows) });
            }
        });
        // SAFETY: both have that many bytes, and neither is written meanwhile.
        let bytes = |weight: &PackedWeight<bf16>| unsafe {
            std::slice::from_raw_parts(weight.words().cast::<u8>(), weight.bytes())
        };
        assert!(bytes(&whole) == bytes(&parts));
    }
}

#[test]
fn scales_multiply_the_output_channels() {
    let geometry = geometry(1, [3, 18], [4, 4], [1, 1]);
    let mut case = Case::<f32>::new(7, geometry, PLAIN);
    let scale: Vec<f32> = (0..18).map(|i| (i as f32 - 7.0) / 4.0).collect();
    let mut scaled = PackedWeight::<f32>::new(geometry, Operand::Forward).unwrap();
    scaled.pack(&case.weight, Some(&scale)).unwrap();
    for (i, weight) in case.weight.iter_mut().enumerate() {
        *weight *= scale[i / 27];
    }
    let mut y = vec![0.0; geometry.out_len()];
    let forward = Forward {
        geometry,
        x: case.x.get(),
        load: None,
        weight: &scaled,
        bias: None,
        residual: None,
        activation: Activation::IDENTITY,
        statistics: false,
        y: &mut y,
    };
    assert!(forward.run(&Serial).unwrap().is_none());
    close("y", &exact(&y), &exact(case.run::<f32>(&Serial).y.checked()), 1e-5, 0.0);
}

#[test]
fn wrong_lengths_are_errors() {
    let good = geometry(1, [3, 5], [4, 4], [1, 1]);
    assert!(!takes(&Geometry { stride: [2, 1], ..good }));
    assert!(!takes(&Geometry { padding: [3, 1], ..good }));
    assert!(PackedWeight::<f32>::new(Geometry { groups: 2, ..good }, Operand::Forward).is_err());
    let mut weight = PackedWeight::<f32>::new(good, Operand::Forward).unwrap();
    assert!(weight.pack(&[0.0; 134], None).is_err());
    assert!(weight.pack(&[0.0; 135], Some(&[1.0; 3])).is_err());
    let (x, residual) = ([0.0; 48], [0.0; 80]);
    let run = |geometry, x: &[f32], y: &mut [f32], residual, bias, load| {
        let (activation, statistics) = (Activation::RELU, true);
        let weight = &weight;
        let forward =
            Forward { geometry, x, load, weight, bias, residual, activation, statistics, y };
        forward.run(&Serial).map(|_| ()).map_err(|error| error.to_string())
    };
    let y = &mut [0.0f32; 80];
    assert!(run(good, &x, y, Some(&residual[..]), Some(&[0.0; 5][..]), None).is_ok());
    assert!(run(good, &x[1..], y, None, None, None).unwrap_err().contains("x must have 48"));
    assert!(run(good, &x, &mut y[1..], None, None, None).unwrap_err().contains("y must have 80"));
    assert!(run(good, &x, y, Some(&x), None, None).unwrap_err().contains("residual must have"));
    assert!(run(good, &x, y, None, Some(&x), None).unwrap_err().contains("bias must have 5"));
    let load = Load { scale: &[1.0; 3], shift: &[0.0; 2], activation: Activation::RELU };
    assert!(run(good, &x, y, None, None, Some(load)).unwrap_err().contains("shift must have 3"));
    let other = Geometry { in_channels: 4, ..good };
    assert!(run(other, &[0.0; 64], y, None, None, None).unwrap_err().contains("weight"));
    let grad_input =
        GradInput { geometry: good, grad_y: &residual, weight: &weight, add: None, grad_x: y };
    assert!(grad_input.run(&Serial).is_err());
    let grad_weight = GradWeight {
        geometry: good,
        x: &x,
        load: None,
        grad_y: &residual,
        grad_weight: &mut [0.0; 135],
        grad_bias: Some(&mut [0.0; 4]),
    };
    let message = grad_weight.run::<f32>(&Serial).unwrap_err().to_string();
    assert!(message.contains("grad_bias must have 5"), "{message}");
}
