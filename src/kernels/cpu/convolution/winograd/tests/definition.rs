//! All passes follow the definition.

use half::bf16;
use proptest::prelude::*;

use super::super::takes;
use super::case::{geometry, Case, Flags, PLAIN};
use crate::activation::Activation;
use crate::cpu::testing::exact;
use crate::cpu::testing::{each_level, forced, Scoped};
use crate::cpu::Serial;
use crate::kernels::cpu::convolution::Geometry;

fn flags() -> impl Strategy<Value = Flags> {
    let leaky = Activation { slope: 0.1, max: f32::INFINITY };
    let activation = prop::sample::select(vec![
        Activation::IDENTITY,
        Activation::RELU,
        Activation::RELU6,
        leaky,
    ]);
    (any::<[bool; 3]>(), activation).prop_map(|([load, bias, residual], activation)| Flags {
        load,
        bias,
        residual,
        activation,
    })
}

fn shape() -> impl Strategy<Value = Geometry> {
    let channels = || prop_oneof![1usize..5, 12usize..40, Just(16), Just(32), Just(64), Just(67)];
    let size = (1usize..10, 1usize..12);
    (1usize..4, channels(), channels(), size, 0usize..3, 0usize..3)
        .prop_map(|(batch, ins, outs, (h, w), v, u)| geometry(batch, [ins, outs], [h, w], [v, u]))
        .prop_filter("the kernel fits", takes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn f32_follows_the_sums(seed in 0u64..1000, geometry in shape(), flags in flags()) {
        Case::<f32>::new(seed, geometry, flags).check::<f32>(&Serial);
    }

    #[test]
    fn bf16_follows_the_sums(seed in 0u64..1000, geometry in shape(), flags in flags()) {
        Case::<bf16>::new(seed, geometry, flags).check::<bf16>(&Serial);
    }

    #[test]
    fn bf16_that_is_multiplied_as_f32_follows_the_sums(
        seed in 0u64..1000, geometry in shape(), flags in flags(),
    ) {
        Case::<bf16>::new(seed, geometry, flags).check::<f32>(&Serial);
    }

    #[test]
    fn threads_change_nothing(seed in 0u64..1000, geometry in shape(), flags in flags()) {
        let case = Case::<bf16>::new(seed, geometry, flags);
        prop_assert!(case.passes::<bf16>(&Serial) == case.passes::<bf16>(&Scoped(3)));
        prop_assert!(case.passes::<f32>(&Serial) == case.passes::<f32>(&Scoped(3)));
        let case = Case::<f32>::new(seed, geometry, flags);
        prop_assert!(case.passes::<f32>(&Serial) == case.passes::<f32>(&Scoped(3)));
    }
}

#[test]
fn every_level_follows_the_sums() {
    let flags = Flags { load: true, bias: true, residual: true, activation: Activation::RELU };
    for (channels, size) in [([16, 16], [8, 8]), ([35, 50], [5, 7]), ([3, 1], [2, 2])] {
        let geometry = geometry(3, channels, size, [1, 1]);
        let (single, half) =
            (Case::<f32>::new(1, geometry, flags), Case::<bf16>::new(1, geometry, flags));
        for level in each_level() {
            forced(level, || {
                single.check::<f32>(&Serial);
                half.check::<bf16>(&Serial);
                half.check::<f32>(&Serial);
            });
        }
    }
}

#[test]
fn many_tasks_and_blocks_follow_the_sums() {
    for (batch, channels, size) in [
        (9, [16, 16], [32, 32]),
        (40, [20, 3], [6, 6]),
        (33, [16, 80], [2, 2]),
        (2, [130, 150], [4, 4]),
    ] {
        let geometry = geometry(batch, channels, size, [1, 1]);
        let flags = Flags { bias: true, ..PLAIN };
        Case::<f32>::new(2, geometry, flags).check::<f32>(&Scoped(2));
        let half = Case::<bf16>::new(2, geometry, flags);
        half.check::<bf16>(&Scoped(2));
        half.check::<f32>(&Scoped(2));
    }
}

#[test]
fn large_means_keep_their_digits() {
    let mut case =
        Case::<f32>::new(3, geometry(8, [4, 20], [16, 15], [1, 1]), Flags { bias: true, ..PLAIN });
    case.bias.iter_mut().for_each(|bias| *bias += 1e4);
    let outputs = case.run::<f32>(&Serial);
    case.check_moments(&exact(outputs.y.checked()), &outputs.moments, 1e-4);
}

#[test]
fn a_nan_is_not_hidden() {
    let flags = Flags { load: true, activation: Activation::RELU, ..PLAIN };
    let mut case = Case::<bf16>::new(4, geometry(2, [16, 16], [8, 8], [1, 1]), flags);
    case.x.get_mut()[(8 + 3) * 16 + 5] = bf16::NAN;
    let outputs = case.run::<bf16>(&Serial);
    assert!(outputs.y.get()[(8 + 3) * 16].is_nan());
    assert!(!outputs.y.get()[64 * 16].is_nan());
    assert!(outputs.moments.mean[0].is_nan() && outputs.moments.squares[0].is_nan());
    assert!(outputs.grad_weight.get()[5].is_nan());
    assert!(!outputs.grad_x.get()[5].is_nan());
}

/// ReLU leaves zeros and a few large values, and the first of them may be a large one.
#[test]
fn an_outlier_at_the_start_costs_no_digits() {
    let geometry = geometry(9, [4, 16], [32, 31], [1, 1]);
    let mut case = Case::<f32>::new(5, geometry, Flags { bias: true, residual: true, ..PLAIN });
    case.residual.get_mut().iter_mut().take(16).for_each(|first| *first = 300.0);
    let outputs = case.run::<f32>(&Serial);
    case.check_moments(&exact(outputs.y.checked()), &outputs.moments, 2e-5);
}
