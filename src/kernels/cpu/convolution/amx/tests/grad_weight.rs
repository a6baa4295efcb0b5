//! The gradients of weight and bias follow the definition; wrong arguments are errors.

use half::bf16;
use proptest::prelude::*;

use super::super::GradWeight;
use crate::activation::Activation;
use crate::cpu::testing::{each_level, forced, Scoped};
use crate::cpu::{Parallel, Serial};
use crate::kernels::cpu::convolution::testing::{
    activations, geometries, geometry, shapes, GradWeightCall, GradWeightCase, Gradients,
};
use crate::kernels::cpu::convolution::{Geometry, Load};

type Case = GradWeightCase<bf16>;

fn run(case: &Case, parallel: &dyn Parallel) -> Gradients {
    case.run(|call| {
        let GradWeightCall { geometry, x, load, grad_y, grad_weight, grad_bias } = call;
        let grad_bias = Some(grad_bias);
        GradWeight { geometry, x, load, grad_y, grad_weight, grad_bias }.run(parallel)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_geometry_follows_the_definition(
        seed in 0u64..1000, geometry in geometries(), activation in activations(),
    ) {
        let case = Case::new(seed, geometry, activation);
        case.check::<bf16>(&run(&case, &Serial));
    }
}

#[test]
fn shapes_of_networks_follow_the_definition() {
    for (seed, shape) in shapes().into_iter().enumerate() {
        let relu = (seed % 2 == 0).then_some(Activation::RELU);
        let case = Case::new(seed as u64, shape, relu);
        let gradients = run(&case, &Serial);
        case.check::<bf16>(&gradients);
        assert!(gradients == run(&case, &Scoped(3)), "{shape:?}");
    }
}

#[test]
fn every_level_follows_the_definition() {
    let half = |g: Geometry| Geometry { batch: g.batch.min(2), ..g };
    for (seed, shape) in shapes().into_iter().map(half).enumerate().take(3) {
        let case = Case::new(seed as u64, shape, Some(Activation::RELU6));
        for level in each_level() {
            case.check::<bf16>(&forced(level, || run(&case, &Serial)));
        }
    }
}

#[test]
fn a_nan_stays_in_its_channel() {
    for channels in [3, 16, 20] {
        let shape = geometry([2, channels, 16], [8, 8], [3, 3], [1, 1, 1]);
        let mut case = Case::new(1, shape, None);
        case.x.get_mut()[channels * 27 + 2] = bf16::NAN;
        for (i, value) in run(&case, &Serial).grad_weight.iter().enumerate() {
            assert_eq!(value.is_nan(), i % channels == 2);
        }
    }
}

#[test]
fn wrong_inputs_are_errors() {
    let shape = geometry([2, 4, 6], [5, 5], [3, 3], [1, 0, 1]);
    let right = [2 * 25 * 4, 2 * 9 * 6, 6 * 9 * 4, 6, 4];
    let run = |geometry, [x, grad_y, weight, bias, scale]: [usize; 5]| {
        let [x, grad_y] = [x, grad_y].map(|len| vec![bf16::ONE; len]);
        let [mut grad_weight, mut grad_bias, scale] =
            [weight, bias, scale].map(|len| vec![1.0; len]);
        let load = Load { scale: &scale, shift: &scale, activation: Activation::RELU };
        let call = GradWeight {
            geometry,
            x: &x,
            load: Some(load),
            grad_y: &grad_y,
            grad_weight: &mut grad_weight,
            grad_bias: Some(&mut grad_bias),
        };
        call.run(&Serial).map_err(|error| error.to_string())
    };
    run(shape, right).unwrap();
    for (i, name) in ["x", "grad_y", "grad_weight", "grad_bias", "scale"].into_iter().enumerate() {
        let mut lengths = right;
        lengths[i] -= 1;
        let message = run(shape, lengths).unwrap_err();
        assert!(message.starts_with(&format!("{name} must have {}", right[i])), "{message}");
    }
    for wrong in [Geometry { groups: 2, ..shape }, Geometry { stride: [0, 1], ..shape }] {
        assert!(run(wrong, right).unwrap_err().contains("convolution"));
    }
}
