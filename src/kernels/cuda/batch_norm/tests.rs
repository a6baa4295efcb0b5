use half::bf16;

use super::super::host::{address, address_mut, Host};
use super::*;
use crate::cpu::Serial;
use crate::kernels::cpu::batch_norm as cpu;

const EPS: f32 = 1e-5;

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| (((i * 37 + seed * 11) % 101) as f32 - 40.0) / 17.0).collect()
}

/// Compares forward and backward on the host device with the CPU kernels.
fn compare(rows: usize, channels: usize, activation: Activation, with_residual: bool) {
    let (count, seed) = (rows * channels, rows + channels);
    let (x, grad_y, residual) = (numbers(count, 1), numbers(count, 2), numbers(count, seed));
    let (weight, bias) = (numbers(channels, 5), numbers(channels, 6));
    let device = Host::new(3);
    let shape = Shape { rows, channels, number: Number::F32 };
    let vector = || vec![f32::NAN; channels];
    let mut partial = vec![f32::NAN; partial_len(shape, &device).unwrap()];
    let (mut y, mut mean, mut invstd) = (vec![f32::NAN; count], vector(), vector());
    let (old_mean, old_var) = (vec![0.5f32; channels], vec![2.0f32; channels]);
    let (mut running_mean, mut running_var) = (vector(), vector());
    let forward = Forward {
        shape,
        eps: EPS,
        momentum: 0.1,
        activation,
        x: address(&x),
        weight: address(&weight),
        bias: address(&bias),
        residual: if with_residual { address(&residual) } else { Address::NONE },
        y: address_mut(&mut y),
        save_mean: address_mut(&mut mean),
        save_invstd: address_mut(&mut invstd),
        running_mean: address(&old_mean),
        running_var: address(&old_var),
        new_mean: address_mut(&mut running_mean),
        new_var: address_mut(&mut running_var),
        partial: address_mut(&mut partial),
    };
    // SAFETY: all slices have their lengths and outlive the launch.
    unsafe { forward.launch(&device) }.unwrap();

    let cpu_shape = cpu::Shape { rows, channels };
    let (mut cpu_y, mut cpu_mean, mut cpu_invstd) = (vec![0.0; count], vector(), vector());
    cpu::Forward {
        shape: cpu_shape,
        eps: f64::from(EPS),
        activation,
        x: &x,
        moments: None,
        weight: Some(&weight),
        bias: Some(&bias),
        residual: with_residual.then_some(&residual[..]),
        y: &mut cpu_y,
        save_mean: &mut cpu_mean,
        save_invstd: &mut cpu_invstd,
    }
    .run(&Serial)
    .unwrap();
    close(&y, &cpu_y, "y");
    close(&mean, &cpu_mean, "mean");
    close(&invstd, &cpu_invstd, "invstd");
    let (mut old_mean, mut old_var) = (old_mean, old_var);
    let (m, v) = (&mut old_mean, &mut old_var);
    cpu::update_running(cpu_shape, f64::from(EPS), 0.1, &cpu_mean, &cpu_invstd, m, v).unwrap();
    close(&running_mean, &old_mean, "running_mean");
    close(&running_var, &old_var, "running_var");

    let (mut grad_x, mut grad_residual) = (vec![f32::NAN; count], vec![f32::NAN; count]);
    let (mut grad_weight, mut grad_bias, mut lines) =
        (vector(), vector(), vec![f32::NAN; 2 * channels]);
    let backward = Backward {
        shape,
        activation,
        grad_y: address(&grad_y),
        y: if with_residual { address(&cpu_y) } else { Address::NONE },
        x: address(&x),
        weight: address(&weight),
        bias: address(&bias),
        save_mean: address(&mean),
        save_invstd: address(&invstd),
        grad_x: address_mut(&mut grad_x),
        grad_residual: if with_residual { address_mut(&mut grad_residual) } else { Address::NONE },
        grad_weight: address_mut(&mut grad_weight),
        grad_bias: address_mut(&mut grad_bias),
        lines: address_mut(&mut lines),
        partial: address_mut(&mut partial),
    };
    // SAFETY: as above.
    unsafe { backward.launch(&device) }.unwrap();

    let (mut cpu_grad_x, mut cpu_grad_residual) = (vec![0.0; count], vec![0.0; count]);
    let (mut cpu_grad_weight, mut cpu_grad_bias) = (vector(), vector());
    cpu::Backward {
        shape: cpu_shape,
        activation,
        grad_y: &grad_y,
        mask: match with_residual {
            true => cpu::Mask::Output(&cpu_y),
            false => cpu::Mask::Recomputed { bias: Some(&bias) },
        },
        sums: None,
        x: &x,
        weight: Some(&weight),
        save_mean: &cpu_mean,
        save_invstd: &cpu_invstd,
        grad_x: &mut cpu_grad_x,
        grad_residual: with_residual.then_some(&mut cpu_grad_residual[..]),
        grad_weight: &mut cpu_grad_weight,
        grad_bias: &mut cpu_grad_bias,
    }
    .run(&Serial)
    .unwrap();
    close(&grad_x, &cpu_grad_x, "grad_x");
    close(&grad_weight, &cpu_grad_weight, "grad_weight");
    close(&grad_bias, &cpu_grad_bias, "grad_bias");
    if with_residual {
        close(&grad_residual, &cpu_grad_residual, "grad_residual");
    }
}

fn close(ours: &[f32], cpu: &[f32], what: &str) {
    let largest = cpu.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
    for (i, (a, b)) in ours.iter().zip(cpu).enumerate() {
        assert!((a - b).abs() <= 2e-5 * largest, "{what}[{i}]: {a}, on the CPU {b}");
    }
}

#[test]
fn as_on_the_cpu() {
    for (rows, channels) in [(1000, 16), (77, 3), (5, 40), (64, 1), (19, 300)] {
        for activation in [Activation::IDENTITY, Activation::RELU, Activation::RELU6] {
            compare(rows, channels, activation, false);
            compare(rows, channels, activation, true);
        }
    }
}

#[test]
fn bf16_that_is_not_aligned_goes_one_by_one() {
    let (rows, channels) = (9, 16);
    let values: Vec<bf16> =
        numbers(rows * channels + 1, 3).into_iter().map(bf16::from_f32).collect();
    let device = Host::new(2);
    let shape = Shape { rows, channels, number: Number::Bf16 };
    let mut results = Vec::new();
    for shift in [0, 1] {
        // The same numbers, at an address that is or is not a multiple of 16.
        let mut space = vec![bf16::ZERO; rows * channels + 16];
        let start = (0..8).find(|at| address(&space[*at..]).is_aligned(16)).unwrap() + shift;
        space[start..start + rows * channels].copy_from_slice(&values[..rows * channels]);
        let mut partial = vec![0.0f32; partial_len(shape, &device).unwrap()];
        let mut vectors = vec![0.0f32; 2 * channels];
        let (mean, invstd) = vectors.split_at_mut(channels);
        let mut y = vec![bf16::ZERO; rows * channels];
        let forward = Forward {
            shape,
            eps: EPS,
            momentum: 0.0,
            activation: Activation::RELU,
            x: address(&space[start..]),
            weight: Address::NONE,
            bias: Address::NONE,
            residual: Address::NONE,
            y: address_mut(&mut y),
            save_mean: address_mut(mean),
            save_invstd: address_mut(invstd),
            running_mean: Address::NONE,
            running_var: Address::NONE,
            new_mean: Address::NONE,
            new_var: Address::NONE,
            partial: address_mut(&mut partial),
        };
        // SAFETY: all slices have their lengths and outlive the launch.
        unsafe { forward.launch(&device) }.unwrap();
        results.push(y);
    }
    for (a, b) in results[0].iter().zip(&results[1]) {
        assert!((a.to_f32() - b.to_f32()).abs() <= 0.02, "{a} {b}");
    }
    assert!(results[0].iter().any(|value| value.to_f32() > 0.5));
}

#[test]
fn nothing_is_refused() {
    let shape = Shape { rows: 0, channels: 3, number: Number::F32 };
    let error = partial_len(shape, &Host::new(1)).unwrap_err().to_string();
    assert!(error.contains('0') && error.contains('3'), "{error}");
}
