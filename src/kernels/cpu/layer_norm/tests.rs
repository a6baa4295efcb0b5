//! Against the definition in f64.

use half::bf16;

use super::*;
use crate::cpu::testing::{each_level, exact, floats, forced, noise, Guarded, Scoped};
use crate::cpu::{Number, Parallel, Serial};

const EPS: f64 = 1e-5;

struct Case<T, G> {
    shape: Shape,
    x: Guarded<T>,
    weight: Option<Guarded<f32>>,
    bias: Option<Guarded<f32>>,
    grad_y: Guarded<G>,
    add: Option<Guarded<T>>,
}

struct Results<T, G> {
    y: Guarded<G>,
    mean: Guarded<f32>,
    rstd: Guarded<f32>,
    grad_x: Guarded<T>,
    copy: Guarded<bf16>,
    grad_weight: Guarded<f32>,
    grad_bias: Guarded<f32>,
}

impl<T: Number, G: Number> Case<T, G> {
    /// `plain`: without weight, bias and the other part of the gradient.
    fn new(shape: Shape, plain: bool) -> Case<T, G> {
        let Shape { rows, features } = shape;
        let vector = |seed| (!plain).then(|| Guarded::input(noise(seed, features)));
        Case {
            shape,
            x: Guarded::input(noise(1, rows * features).map(|value| 3.0 + 2.0 * value)),
            weight: vector(2),
            bias: vector(3),
            grad_y: Guarded::input(noise(4, rows * features)),
            add: (!plain).then(|| Guarded::input(noise(5, rows * features))),
        }
    }

    fn run(&self, parallel: &dyn Parallel) -> Results<T, G> {
        let (shape, len) = (self.shape, self.x.get().len());
        let mut results = Results {
            y: Guarded::output(len),
            mean: Guarded::output(shape.rows),
            rstd: Guarded::output(shape.rows),
            grad_x: Guarded::output(len),
            copy: Guarded::output(len),
            grad_weight: Guarded::output(shape.features),
            grad_bias: Guarded::output(shape.features),
        };
        let forward = Forward {
            shape,
            eps: EPS,
            x: self.x.get(),
            weight: self.weight.as_ref().map(Guarded::get),
            bias: self.bias.as_ref().map(Guarded::get),
            y: results.y.get_mut(),
            mean: results.mean.get_mut(),
            rstd: results.rstd.get_mut(),
        };
        forward.run(parallel).unwrap();
        let backward = Backward {
            shape,
            grad_y: self.grad_y.get(),
            x: self.x.get(),
            mean: results.mean.get(),
            rstd: results.rstd.get(),
            weight: self.weight.as_ref().map(Guarded::get),
            add: self.add.as_ref().map(Guarded::get),
            grad_x: results.grad_x.get_mut(),
            copy: Some(results.copy.get_mut()),
            sums: Some([results.grad_weight.get_mut(), results.grad_bias.get_mut()]),
        };
        backward.run(parallel).unwrap();
        results
    }

    /// `x_unit` and `unit` are the roundings of `T` and `G`.
    fn check(&self, results: &Results<T, G>, x_unit: f64, unit: f64) {
        let Shape { rows, features } = self.shape;
        let (x, grad_y) = (exact(self.x.get()), exact(self.grad_y.get()));
        let weight = self.weight.as_ref().map(|weight| exact(weight.get()));
        let weight = |i: usize| weight.as_ref().map_or(1.0, |weight| weight[i]);
        let bias = self.bias.as_ref().map(|bias| exact(bias.get()));
        let add = self.add.as_ref().map(|add| exact(add.get()));
        let y = exact(results.y.checked());
        let (mean, rstd) = (exact(results.mean.checked()), exact(results.rstd.checked()));
        let (grad_x, copy) = (exact(results.grad_x.checked()), exact(results.copy.checked()));
        let [mut grad_weight, mut grad_bias] = [0, 1].map(|_| vec![0.0; features]);
        let n = features as f64;
        for row in 0..rows {
            let at = |i: usize| row * features + i;
            let expected_mean = (0..features).map(|i| x[at(i)]).sum::<f64>() / n;
            let squares = (0..features).map(|i| (x[at(i)] - expected_mean).powi(2));
            let expected_rstd = 1.0 / (squares.sum::<f64>() / n + EPS).sqrt();
            close(mean[row], expected_mean, 1e-5);
            close(rstd[row], expected_rstd, 2e-5 * expected_rstd);
            let hat = |i: usize| (x[at(i)] - expected_mean) * expected_rstd;
            let g = |i: usize| grad_y[at(i)] * weight(i);
            let total = (0..features).map(g).sum::<f64>() / n;
            let product = (0..features).map(|i| g(i) * hat(i)).sum::<f64>() / n;
            for i in 0..features {
                let value = hat(i) * weight(i) + bias.as_ref().map_or(0.0, |bias| bias[i]);
                close(y[at(i)], value, unit * value.abs() + 2e-5 * expected_rstd);
                let gradient = expected_rstd * (g(i) - total - hat(i) * product)
                    + add.as_ref().map_or(0.0, |add| add[at(i)]);
                let off = x_unit * gradient.abs() + 5e-5 * expected_rstd;
                close(grad_x[at(i)], gradient, off);
                close(copy[at(i)], gradient, off + 4e-3 * gradient.abs());
                grad_weight[i] += grad_y[at(i)] * hat(i);
                grad_bias[i] += grad_y[at(i)];
            }
        }
        let limit = 1e-5 * (rows as f64) * rstd.iter().fold(1.0, |a: f64, b| a.max(*b));
        for (got, expected) in exact(results.grad_weight.checked()).iter().zip(&grad_weight) {
            close(*got, *expected, limit);
        }
        for (got, expected) in exact(results.grad_bias.checked()).iter().zip(&grad_bias) {
            close(*got, *expected, limit);
        }
    }
}

#[track_caller]
fn close(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "got {got}, expected {expected} +- {tolerance}");
}

fn check<T: Number, G: Number>(shape: Shape, x_unit: f64, unit: f64) {
    for plain in [false, true] {
        let case = Case::<T, G>::new(shape, plain);
        for level in each_level() {
            case.check(&forced(level, || case.run(&Serial)), x_unit, unit);
        }
        let (one, many) = (case.run(&Serial), case.run(&Scoped(3)));
        assert_eq!(floats(one.y.get()), floats(many.y.get()));
        assert_eq!(floats(one.grad_x.get()), floats(many.grad_x.get()));
        assert_eq!(floats(one.copy.get()), floats(many.copy.get()));
        assert_eq!(one.grad_weight.get(), many.grad_weight.get());
        assert_eq!(one.grad_bias.get(), many.grad_bias.get());
    }
}

#[test]
fn results_are_the_definition() {
    for (rows, features) in [(1, 2), (16, 64), (37, 17), (5, 100), (600, 96), (3, 1000)] {
        let shape = Shape { rows, features };
        check::<f32, f32>(shape, 1e-7, 1e-7);
        check::<f32, bf16>(shape, 1e-7, 4e-3);
        check::<bf16, bf16>(shape, 4e-3, 4e-3);
    }
}

#[test]
fn a_row_of_one_element_becomes_the_bias() {
    let case = Case::<f32, f32>::new(Shape { rows: 3, features: 1 }, false);
    let results = case.run(&Serial);
    let bias = case.bias.as_ref().unwrap().get()[0];
    assert!(results.y.checked().iter().all(|y| *y == bias));
}

#[test]
fn nonsense_is_an_error() {
    let empty = Shape { rows: 2, features: 0 };
    let (mut mean, mut rstd) = ([0.0; 2], [0.0; 2]);
    let mut run = |shape: Shape, x: &[f32], y: &mut [f32]| {
        let (mean, rstd) = (&mut mean[..], &mut rstd[..]);
        Forward { shape, eps: EPS, x, weight: None, bias: None, y, mean, rstd }.run(&Serial)
    };
    let message = run(empty, &[], &mut []).unwrap_err().to_string();
    assert!(message.contains("layer norm needs at least one feature"), "{message}");
    let shape = Shape { rows: 2, features: 3 };
    let message = run(shape, &[0.0; 6], &mut [0.0; 5]).unwrap_err().to_string();
    assert!(message.contains("y must have 6 elements, got 5"), "{message}");
    assert!(run(Shape { features: usize::MAX, ..shape }, &[0.0; 6], &mut [0.0; 6]).is_err());
}
