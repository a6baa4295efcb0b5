//! The forward and the gradient of the input follow the definition; wrong arguments are errors.

use std::marker::PhantomData;

use half::bf16;

use super::super::{Forward, GradInput, PackedWeight};
use crate::activation::Activation;
use crate::cpu::testing::{each_level, forced, Level, Scoped};
use crate::cpu::{Number, Parallel, Serial};
use crate::kernels::cpu::convolution::testing::{
    any, check_moments, usual, Case, Noise, Outputs, Passes, SMALL,
};
use crate::kernels::cpu::convolution::{Geometry, Moments, Operand};

/// The direct kernels that multiply as `M`.
struct Direct<M>(PhantomData<M>);

impl<T: Number, M: Number> Passes<T> for Direct<M> {
    type Weight = PackedWeight<M>;

    fn packed(geometry: &Geometry, operand: Operand, master: &[f32]) -> PackedWeight<M> {
        let mut weight = PackedWeight::new(geometry, operand).unwrap();
        weight.pack(master, None).unwrap();
        weight
    }

    fn forward(pass: Forward<T, M>, parallel: &dyn Parallel) -> Option<Moments> {
        pass.run(parallel).unwrap()
    }

    fn grad_input(pass: GradInput<T, M>, parallel: &dyn Parallel) {
        pass.run(parallel).unwrap();
    }
}

fn check_any<T: Number, M: Number>(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let case = Case::<T>::new(any(&mut Noise(seed)), seed);
        let outputs = case.run::<Direct<M>>(&Serial);
        case.check::<M>(&outputs);
        assert_eq!(outputs, case.run::<Direct<M>>(&Scoped(3)), "{:?}", case.geometry);
    }
}

#[test]
fn f32_follows_the_sums() {
    check_any::<f32, f32>(0..400);
}

#[test]
fn bf16_follows_the_sums() {
    check_any::<bf16, bf16>(1000..1400);
}

#[test]
fn bf16_that_is_multiplied_as_f32_follows_the_sums() {
    check_any::<bf16, f32>(2000..2400);
}

#[test]
fn every_level_follows_the_sums() {
    fn check<T: Number, M: Number>(level: Level, geometry: Geometry, seed: u64) {
        let case = Case::<T>::new(geometry, seed);
        case.check::<M>(&forced(level, || case.run::<Direct<M>>(&Serial)));
    }
    for level in each_level() {
        for seed in 0..60 {
            let geometry = any(&mut Noise(seed));
            check::<f32, f32>(level, geometry, seed);
            check::<bf16, bf16>(level, geometry, seed);
            check::<bf16, f32>(level, geometry, seed);
        }
    }
}

#[test]
fn usual_shapes_follow_the_sums() {
    fn check<T: Number, M: Number>(geometry: Geometry, seed: u64) {
        let case = Case::<T>::new(geometry, seed);
        case.check::<M>(&case.run::<Direct<M>>(&Scoped(2)));
    }
    for (seed, geometry) in usual().into_iter().enumerate() {
        check::<f32, f32>(geometry, seed as u64);
        check::<bf16, bf16>(geometry, seed as u64);
        check::<bf16, f32>(geometry, seed as u64);
    }
}

#[test]
fn moments_keep_their_digits_beside_a_large_mean() {
    let geometry = Geometry { in_size: [32, 32], batch: 8, ..SMALL };
    let mut case = Case::<f32>::new(geometry, 3);
    (case.with, case.activation) = ([false, true, false, true], Activation::IDENTITY);
    case.bias.fill(1e5);
    let Outputs { y, moments, .. } = case.run::<Direct<f32>>(&Serial);
    let (count, mean, squares) = moments.unwrap();
    check_moments(&y, count, &mean, &squares);
}

#[test]
fn a_nan_is_not_hidden() {
    let mut case = Case::<bf16>::new(SMALL, 5);
    (case.with, case.activation) = ([false, false, false, true], Activation::RELU);
    case.x.get_mut()[0] = bf16::NAN;
    let outputs = case.run::<Direct<bf16>>(&Serial);
    assert!(outputs.y[0].is_nan() && outputs.moments.unwrap().1[0].is_nan());
}

#[test]
fn a_scale_is_folded_into_the_weight() {
    let geometry = Geometry { out_channels: 21, ..SMALL };
    let mut case = Case::<f32>::new(geometry, 4);
    case.with = [false; 4];
    let scale = Noise(9).values(21);
    let mut weight = PackedWeight::<f32>::new(&geometry, Operand::Forward).unwrap();
    weight.pack(&case.master, Some(&scale)).unwrap();
    assert_eq!(weight.bytes(), 2 * 16 * 9 * 16 * 4);
    let mut y = vec![0.0; geometry.out_len()];
    let forward = Forward {
        geometry,
        x: case.x.get(),
        load: None,
        weight: &weight,
        bias: None,
        residual: None,
        activation: case.activation,
        statistics: false,
        y: &mut y,
    };
    forward.run(&Serial).unwrap();
    let row = geometry.weight_len() / 21;
    case.master.iter_mut().enumerate().for_each(|(i, value)| *value *= scale[i / row]);
    assert_eq!(y, case.run::<Direct<f32>>(&Serial).y);
}

#[test]
fn wrong_calls_are_errors() {
    let master = vec![0.0; SMALL.weight_len()];
    let mut weight = PackedWeight::<f32>::new(&SMALL, Operand::Forward).unwrap();
    let message = |result: crate::error::Result<_>| result.err().unwrap().to_string();
    assert!(message(weight.pack(&master[1..], None)).contains("master must have 2304"));
    assert!(message(weight.pack(&master, Some(&[1.0]))).contains("scale must have 16"));
    let grouped = Geometry { groups: 2, ..SMALL };
    assert!(PackedWeight::<f32>::new(&grouped, Operand::Forward).is_err());

    let (x, mut y) = (vec![0.0f32; SMALL.in_len()], vec![9.0f32; SMALL.out_len()]);
    let mut run = |geometry: Geometry, len: usize, y_len: usize, bias: Option<&[f32]>| {
        let forward = Forward {
            geometry,
            x: &x[..len],
            load: None,
            weight: &weight,
            bias,
            residual: None,
            activation: Activation::IDENTITY,
            statistics: false,
            y: &mut y[..y_len],
        };
        message(forward.run(&Serial).map(|_| ()))
    };
    let (len, y_len) = (SMALL.in_len(), SMALL.out_len());
    assert!(run(SMALL, len - 1, y_len, None).contains("x must have"));
    assert!(run(SMALL, len, y_len - 1, None).contains("y must have"));
    assert!(run(SMALL, len, y_len, Some(&[0.0])).contains("bias must have 16"));
    assert!(run(Geometry { kernel_size: [1, 3], ..SMALL }, len, y_len, None).contains("pack"));
    assert!(run(Geometry { batch: 0, ..SMALL }, len, y_len, None).contains("convolution"));
    assert!(y.iter().all(|&y| y == 9.0));

    let grad_input =
        GradInput { geometry: SMALL, grad_y: &x, weight: &weight, add: None, grad_x: &mut y };
    assert!(message(grad_input.run(&Serial)).contains("another product"));
}
