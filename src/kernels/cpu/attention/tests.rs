//! Against the definition in f64.

use half::bf16;

use super::*;
use crate::cpu::testing::{each_level, exact, floats, forced, noise, Guarded, Scoped};
use crate::cpu::{Number, Parallel, Serial};

const SCALE: f32 = 0.7;

/// q, k and v are interleaved as in `[batch, tokens, 3, heads, features]`; the gradient of y is in
/// `[batch, heads, tokens, features]`.
struct Case<T> {
    shape: Shape,
    qkv: Guarded<T>,
    grad_y: Guarded<T>,
}

struct Results<T> {
    y: Guarded<T>,
    logsumexp: Guarded<f32>,
    grad_qkv: Guarded<T>,
}

impl<T: Number> Case<T> {
    fn new(shape: Shape) -> Case<T> {
        let large = noise(1, 3 * shape.elements()).map(|value| 2.0 * value);
        let grad_y = Guarded::input(noise(2, shape.elements()));
        Case { shape, qkv: Guarded::input(large), grad_y }
    }

    fn operand(&self, part: usize) -> Operand<'_, T> {
        let at = part * self.shape.heads * self.shape.features;
        Operand { data: &self.qkv.get()[at..], strides: self.shape.interleaved(3) }
    }

    fn run(&self, parallel: &dyn Parallel) -> Results<T> {
        let Shape { heads, tokens, features, .. } = self.shape;
        let shape = self.shape;
        let mut y = Guarded::output(shape.elements());
        let mut logsumexp = Guarded::output(shape.vectors());
        let mut grad_qkv = Guarded::output(3 * shape.elements());
        let [q, k, v] = [0, 1, 2].map(|part| self.operand(part));
        let (scale, sums) = (SCALE, logsumexp.get_mut());
        let forward = Forward { shape, scale, q, k, v, y: y.get_mut(), logsumexp: sums };
        forward.run(parallel).unwrap();
        let head = tokens * features;
        let strides = Strides { image: heads * head, head, token: features };
        let backward = Backward {
            shape,
            scale,
            grad_y: Operand { data: self.grad_y.get(), strides },
            q,
            k,
            v,
            logsumexp: logsumexp.get(),
            grad_qkv: grad_qkv.get_mut(),
        };
        backward.run(parallel).unwrap();
        Results { y, logsumexp, grad_qkv }
    }

    /// `unit` is the rounding of `T`.
    fn check(&self, results: &Results<T>, unit: f64) {
        let Shape { batch, heads, tokens, features } = self.shape;
        let (qkv, grad_y) = (exact(self.qkv.get()), exact(self.grad_y.get()));
        let (y, grad) = (exact(results.y.checked()), exact(results.grad_qkv.checked()));
        let logsumexp = exact(results.logsumexp.checked());
        for (image, head) in (0..batch).flat_map(|b| (0..heads).map(move |h| (b, h))) {
            let of = |part: usize, token: usize, i: usize| {
                (((image * tokens + token) * 3 + part) * heads + head) * features + i
            };
            let dot = |a: &dyn Fn(usize) -> f64, b: &dyn Fn(usize) -> f64| -> f64 {
                (0..features).map(|i| a(i) * b(i)).sum()
            };
            let number = image * heads + head;
            let dy = |token: usize, i: usize| grad_y[(number * tokens + token) * features + i];
            let mut expected = vec![0.0; 3 * tokens * features];
            for query in 0..tokens {
                let scores: Vec<f64> = (0..tokens)
                    .map(|key| {
                        f64::from(SCALE) * dot(&|i| qkv[of(0, query, i)], &|i| qkv[of(1, key, i)])
                    })
                    .collect();
                let sum: f64 = scores.iter().map(|score| score.exp()).sum();
                close(logsumexp[number * tokens + query], sum.ln(), 1e-5);
                let p: Vec<f64> = scores.iter().map(|score| score.exp() / sum).collect();
                let dp: Vec<f64> = (0..tokens)
                    .map(|key| dot(&|i| dy(query, i), &|i| qkv[of(2, key, i)]))
                    .collect();
                let delta: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
                for i in 0..features {
                    let value: f64 = (0..tokens).map(|key| p[key] * qkv[of(2, key, i)]).sum();
                    let at = ((image * tokens + query) * heads + head) * features + i;
                    close(y[at], value, unit * 2.0 + 1e-5);
                }
                for key in 0..tokens {
                    let ds = f64::from(SCALE) * p[key] * (dp[key] - delta);
                    for i in 0..features {
                        let at = |part: usize, token: usize| (part * tokens + token) * features + i;
                        expected[at(0, query)] += ds * qkv[of(1, key, i)];
                        expected[at(1, key)] += ds * qkv[of(0, query, i)];
                        expected[at(2, key)] += p[key] * dy(query, i);
                    }
                }
            }
            for (number, expected) in expected.iter().enumerate() {
                let (part, rest) = (number / (tokens * features), number % (tokens * features));
                let got = grad[of(part, rest / features, rest % features)];
                close(got, *expected, unit * expected.abs() + 1e-5 * (1.0 + features as f64));
            }
        }
    }
}

#[track_caller]
fn close(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "got {got}, expected {expected} +- {tolerance}");
}

fn check<T: Number>(shape: Shape, unit: f64) {
    let case = Case::<T>::new(shape);
    for level in each_level() {
        case.check(&forced(level, || case.run(&Serial)), unit);
    }
    let (one, many) = (case.run(&Serial), case.run(&Scoped(3)));
    assert_eq!(floats(one.y.get()), floats(many.y.get()));
    assert_eq!(one.logsumexp.get(), many.logsumexp.get());
    assert_eq!(floats(one.grad_qkv.get()), floats(many.grad_qkv.get()));
}

#[test]
fn results_are_the_definition() {
    let sizes = [(1, 1, 1), (2, 49, 16), (3, 17, 5), (1, 64, 33), (2, 65, 20), (1, 150, 48)];
    for (heads, tokens, features) in sizes {
        let shape = Shape { batch: 2, heads, tokens, features };
        check::<f32>(shape, 1e-7);
        check::<bf16>(shape, 4e-3);
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let shape = Shape { batch: 1, heads: 1, tokens: 3, features: 1 };
    let strides = Strides { image: 3, head: 3, token: 1 };
    let (q, v) = ([100.0f32; 3], [1.0f32, 2.0, 3.0]);
    let k = [10.0f32, -10.0, 9.0];
    let [q, k, v] = [&q, &k, &v].map(|data| Operand { data: &data[..], strides });
    let (mut y, mut logsumexp) = ([0.0; 3], [0.0; 3]);
    let forward = Forward { shape, scale: 1.0, q, k, v, y: &mut y, logsumexp: &mut logsumexp };
    forward.run(&Serial).unwrap();
    assert!(y.iter().all(|y| *y == 1.0) && logsumexp.iter().all(|sum| *sum == 1000.0), "{y:?}");
}

#[test]
fn nothing_attends_to_nothing() {
    for (batch, tokens, features) in [(0, 2, 2), (2, 0, 2), (2, 2, 0)] {
        let shape = Shape { batch, heads: 1, tokens, features };
        let operand = Operand::<f32> { data: &[], strides: shape.interleaved(1) };
        let (q, k, v, scale) = (operand, operand, operand, 1.0);
        let mut logsumexp = vec![0.0; shape.vectors()];
        let sums = &mut logsumexp[..];
        Forward { shape, scale, q, k, v, y: &mut [], logsumexp: sums }.run(&Serial).unwrap();
        let (grad_y, logsumexp) = (operand, &logsumexp[..]);
        let backward = Backward { shape, scale, grad_y, q, k, v, logsumexp, grad_qkv: &mut [] };
        backward.run(&Serial).unwrap();
    }
}

#[test]
fn slices_of_other_lengths_are_errors() {
    let case = Case::<f32>::new(Shape { batch: 2, heads: 2, tokens: 3, features: 4 });
    let (mut y, mut logsumexp) = ([0.0; 48], [0.0; 12]);
    let run = |shape: Shape, part: usize, y: &mut [f32], logsumexp: &mut [f32]| {
        let [q, k, v] = [0, 1, part].map(|part| case.operand(part));
        Forward { shape, scale: 1.0, q, k, v, y, logsumexp }.run(&Serial)
    };
    let message = |result: crate::error::Result<()>| result.unwrap_err().to_string();
    run(case.shape, 2, &mut y, &mut logsumexp).unwrap();
    let short = message(run(case.shape, 2, &mut y[1..], &mut logsumexp));
    assert!(short.contains("y must have 48 elements, got 47"), "{short}");
    let late = message(run(case.shape, 3, &mut y, &mut logsumexp));
    assert!(late.contains("v must have"), "{late}");
    let huge = Shape { batch: usize::MAX, ..case.shape };
    message(run(huge, 2, &mut y, &mut logsumexp));
}
