//! The gradients of weight and bias follow the definition; wrong arguments are errors.

use half::bf16;
use proptest::prelude::*;

use super::super::GradWeight;
use crate::activation::Activation;
use crate::cpu::testing::{each_level, forced, Scoped};
use crate::cpu::{Number, Parallel, Serial};
use crate::kernels::cpu::convolution::testing::{
    activations, geometries, geometry, shapes, GradWeightCall, GradWeightCase, Gradients,
};
use crate::kernels::cpu::convolution::{Geometry, Load};

/// The gradients by the kernels that multiply as `M`.
fn run<T: Number, M: Number>(case: &GradWeightCase<T>, parallel: &dyn Parallel) -> Gradients {
    case.run(|call| {
        let GradWeightCall { geometry, x, load, grad_y, grad_weight, grad_bias } = call;
        let grad_bias = Some(grad_bias);
        GradWeight { geometry, x, load, grad_y, grad_weight, grad_bias }.run::<M>(parallel)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn f32_follows_the_definition(
        seed in 0u64..1000, geometry in geometries(), activation in activations(),
    ) {
        check::<f32, f32>(seed, geometry, activation);
    }

    #[test]
    fn bf16_follows_the_definition(
        seed in 0u64..1000, geometry in geometries(), activation in activations(),
    ) {
        check::<bf16, bf16>(seed, geometry, activation);
    }

    #[test]
    fn bf16_that_is_multiplied_as_f32_follows_the_definition(
        seed in 0u64..1000, geometry in geometries(), activation in activations(),
    ) {
        check::<bf16, f32>(seed, geometry, activation);
    }
}

fn check<T: Number, M: Number>(seed: u64, geometry: Geometry, activation: Option<Activation>) {
    let case = GradWeightCase::<T>::new(seed, geometry, activation);
    case.check::<M>(&run::<T, M>(&case, &Serial));
}

#[test]
fn shapes_of_networks_follow_the_definition() {
    for (seed, shape) in (0..).zip(shapes()) {
        let relu = (seed % 2 == 0).then_some(Activation::RELU);
        check::<f32, f32>(seed, shape, relu);
        check::<bf16, bf16>(seed, shape, relu);
        check::<bf16, f32>(seed, shape, relu);
    }
}

#[test]
fn threads_change_nothing() {
    fn same<M: Number>(case: &GradWeightCase<bf16>) -> bool {
        run::<bf16, M>(case, &Serial) == run::<bf16, M>(case, &Scoped(3))
    }
    for (seed, shape) in (0..).zip(shapes()) {
        let case = GradWeightCase::<bf16>::new(seed, shape, None);
        assert!(same::<bf16>(&case) && same::<f32>(&case), "{shape:?}");
    }
}

#[test]
fn every_level_follows_the_definition() {
    let half = |g: Geometry| Geometry { batch: g.batch.min(2), ..g };
    let activation = Some(Activation::RELU6);
    for (seed, shape) in (0..).zip(shapes().into_iter().map(half)) {
        for level in each_level() {
            forced(level, || {
                check::<f32, f32>(seed, shape, activation);
                check::<bf16, bf16>(seed, shape, activation);
                check::<bf16, f32>(seed, shape, activation);
            });
        }
    }
}

#[test]
fn a_nan_is_not_hidden() {
    let shape = geometry([2, 16, 16], [8, 8], [3, 3], [1, 1, 1]);
    for activation in [None, Some(Activation::RELU), Some(Activation::RELU6)] {
        let mut case = GradWeightCase::<bf16>::new(1, shape, activation);
        case.x.get_mut()[16 * 27 + 3] = bf16::NAN;
        let outputs = run::<bf16, bf16>(&case, &Serial);
        for (i, value) in outputs.grad_weight.iter().enumerate() {
            assert_eq!(value.is_nan(), i % 16 == 3);
        }
    }
}

#[test]
fn wrong_inputs_are_errors() {
    let shape = geometry([2, 4, 6], [5, 5], [3, 3], [1, 0, 1]);
    let right = [2 * 25 * 4, 2 * 9 * 6, 6 * 9 * 4, 6, 4];
    let run = |geometry, lengths: [usize; 5]| {
        let [x, grad_y, grad_weight, grad_bias, scale] = lengths.map(|len| vec![1.0f32; len]);
        let (mut grad_weight, mut grad_bias) = (grad_weight, grad_bias);
        let call = GradWeight {
            geometry,
            x: &x,
            load: Some(Load { scale: &scale, shift: &scale, activation: Activation::RELU }),
            grad_y: &grad_y,
            grad_weight: &mut grad_weight,
            grad_bias: Some(&mut grad_bias),
        };
        call.run::<f32>(&Serial).map_err(|error| error.to_string())
    };
    run(shape, right).unwrap();
    for (i, name) in ["x", "grad_y", "grad_weight", "grad_bias", "scale"].into_iter().enumerate() {
        let mut lengths = right;
        lengths[i] -= 1;
        let message = run(shape, lengths).unwrap_err();
        assert!(message.starts_with(&format!("{name} must have {}", right[i])), "{message}");
        lengths[i] = 0;
        assert!(run(shape, lengths).is_err(), "{name}");
    }
    for wrong in [Geometry { groups: 2, ..shape }, Geometry { stride: [0, 1], ..shape }] {
        assert!(run(wrong, right).unwrap_err().contains("convolution"));
    }
}
