//! Forward and backward follow the formulas, whatever the shape, the threads and the instructions.

use proptest::prelude::*;

use super::super::update_running;
use super::super::{Forward, Shape};
use super::case::{close, Case, EPS};
use crate::activation::Activation;
use crate::cpu::testing::{each_level, forced, Scoped};
use crate::cpu::Serial;
use half::bf16;

fn flags() -> impl Strategy<Value = [bool; 3]> {
    any::<[bool; 3]>()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn f32_follows_the_formulas(
        seed in 0u64..1000, rows in 1usize..300, channels in 1usize..140, flags in flags(),
    ) {
        let case = Case::<f32>::new(seed, rows, channels, 1.0, flags);
        case.check(&case.run(&Serial), 1e-6);
    }

    #[test]
    fn bf16_follows_the_formulas(
        seed in 0u64..1000, rows in 1usize..300, channels in 1usize..140, flags in flags(),
    ) {
        let case = Case::<bf16>::new(seed, rows, channels, 1.0, flags);
        case.check(&case.run(&Serial), 1.0 / 256.0);
    }

    #[test]
    fn large_means_keep_their_digits(
        seed in 0u64..1000, rows in 50usize..400, channels in 1usize..40, flags in flags(),
    ) {
        let case = Case::<f32>::new(seed, rows, channels, 1e4, flags);
        case.check(&case.run(&Serial), 1e-6);
    }

    #[test]
    fn threads_change_nothing(
        seed in 0u64..1000, rows in 1usize..4000, channels in 1usize..70, flags in flags(),
    ) {
        let case = Case::<f32>::new(seed, rows, channels, 1.0, flags);
        let outputs = case.run(&Serial);
        prop_assert!(outputs == case.run(&Scoped(2)));
        prop_assert!(outputs == case.run(&Scoped(5)));
    }
}

#[test]
fn every_usual_number_of_channels_works() {
    for channels in [1, 2, 3, 8, 16, 24, 31, 32, 33, 64, 65, 96, 100, 513, 2047, 2048, 4099] {
        for rows in [1, 2, 67, 200] {
            let case = Case::<f32>::new(1, rows, channels, 1.0, [true; 3]);
            case.check(&case.run(&Serial), 1e-6);
        }
    }
}

#[test]
fn many_tasks_agree_with_the_formulas() {
    let flags = [true; 3];
    for (rows, channels) in [(70_001, 3), (20_011, 16), (4_001, 64), (1_001, 500)] {
        let case = Case::<f32>::new(2, rows, channels, 100.0, flags);
        case.check(&case.run(&Scoped(2)), 1e-6);
        let case = Case::<bf16>::new(3, rows, channels, 1.0, flags);
        case.check(&case.run(&Scoped(2)), 1.0 / 256.0);
    }
}

#[test]
fn all_instruction_sets_give_the_same_bits() {
    for (rows, channels) in [(3_001, 3), (501, 16), (200, 65)] {
        for flags in [[false; 3], [true; 3]] {
            let single = Case::<f32>::new(9, rows, channels, 1.0, flags);
            let half = Case::<bf16>::new(9, rows, channels, 1.0, flags);
            let (best, best_half) = (single.run(&Serial), half.run(&Serial));
            for level in each_level() {
                assert!(best == forced(level, || single.run(&Serial)), "{level:?}");
                assert!(best_half == forced(level, || half.run(&Serial)), "{level:?}");
            }
        }
    }
}

#[test]
fn one_outlier_among_many_is_no_harm() {
    for at in [0, 1, 64 * 16, 5000] {
        let mut case = Case::<f32>::new(4, 20_000, 16, 0.0, [false, true, false]);
        case.x[at * 16 + 5] = 1e4;
        case.check(&case.run(&Serial), 1e-5);
    }
}

#[test]
fn constant_channels_have_no_variance() {
    let mut case = Case::<f32>::new(5, 1000, 24, 1.0, [true, true, false]);
    for row in case.x.chunks_exact_mut(24) {
        row[7] = 12_345.679;
        row[8] = 0.0;
    }
    let outputs = case.run(&Serial);
    case.check(&outputs, 1e-6);
    assert_eq!(outputs.save_mean[7], 12_345.679);
    assert_eq!(outputs.save_invstd[7], (1.0 / EPS.sqrt()) as f32);
}

#[test]
fn a_nan_is_not_hidden() {
    for relu in [false, true] {
        let mut case = Case::<f32>::new(6, 300, 4, 1.0, [relu, true, true]);
        case.x[401] = f32::NAN;
        let outputs = case.run(&Serial);
        assert!(outputs.save_mean[1].is_nan() && outputs.save_invstd[1].is_nan());
        for (i, y) in outputs.y.iter().enumerate() {
            assert_eq!(y.is_nan(), i % 4 == 1);
        }
        assert!(outputs.grad_x[1].is_nan() && outputs.grad_weight[1].is_nan());
        assert!(!outputs.grad_weight[0].is_nan());
    }
}

#[test]
fn running_statistics_move_as_torch_moves_them() {
    let shape = Shape { rows: 50, channels: 5 };
    let mut case = Case::<f32>::new(8, 50, 5, 3.0, [true, true, false]);
    case.x.iter_mut().skip(3).step_by(5).for_each(|x| *x = 2.0);
    let outputs = case.run(&Serial);
    let (mut mean, mut var) = (vec![0.5f32; 5], vec![2.0f32; 5]);
    let (saved, invstd) = (&outputs.save_mean, &outputs.save_invstd);
    update_running(shape, EPS, 0.1, saved, invstd, &mut mean, &mut var).unwrap();
    for c in 0..5 {
        let x: Vec<f64> = case.x.iter().skip(c).step_by(5).map(|&x| x as f64).collect();
        let exact = x.iter().sum::<f64>() / 50.0;
        let unbiased = x.iter().map(|x| (x - exact).powi(2)).sum::<f64>() / 49.0;
        close(mean[c] as f64, 0.9 * 0.5 + 0.1 * exact, 1e-6);
        close(var[c] as f64, 0.9 * 2.0 + 0.1 * unbiased, 1e-6);
    }
    let single = Shape { rows: 1, channels: 5 };
    let error = update_running(single, EPS, 0.1, saved, invstd, &mut mean, &mut var).unwrap_err();
    assert!(error.to_string().contains("more than one value per channel, got 1"), "{error}");
}

#[test]
fn wrong_lengths_are_errors() {
    let (x, mut y, mut mean, mut invstd) = ([0.0f32; 6], [9.0f32; 6], [0.0; 3], [0.0; 3]);
    let mut run = |rows, channels, weight: Option<&[f32]>, residual: Option<&[f32]>| {
        let shape = Shape { rows, channels };
        let (y, save_mean, save_invstd) = (&mut y[..], &mut mean[..], &mut invstd[..]);
        let bias = None;
        let forward = Forward {
            shape,
            eps: EPS,
            activation: Activation::RELU,
            x: &x,
            moments: None,
            weight,
            bias,
            residual,
            y,
            save_mean,
            save_invstd,
        };
        forward.run(&Serial).map_err(|error| error.to_string())
    };
    assert!(run(2, 3, None, None).is_ok());
    assert!(run(0, 3, None, None).unwrap_err().contains("got 0 rows of 3"));
    assert!(run(2, 4, None, None).unwrap_err().contains("x must have 8 elements, got 6"));
    assert!(run(usize::MAX, 3, None, None).is_err());
    assert!(run(3, 2, None, None).unwrap_err().contains("save_mean must have 2"));
    assert!(run(2, 3, Some(&[1.0]), None).unwrap_err().contains("weight must have 3"));
    assert!(run(2, 3, None, Some(&[1.0])).unwrap_err().contains("residual must have 6"));
}
