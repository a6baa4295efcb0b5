//! Against the formulas in f64, with the gradients as the authors derive them: backwards.

use half::bf16;

use super::*;
use crate::cpu::testing::{each_level, exact, floats, forced, noise, Guarded, Scoped};
use crate::cpu::{Number, Parallel, Serial};

type Matrix = Vec<Vec<f64>>;

fn matrix(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Matrix {
    (0..rows).map(|i| (0..columns).map(|j| value(i, j)).collect()).collect()
}

fn times(a: &Matrix, b: &Matrix) -> Matrix {
    matrix(a.len(), b[0].len(), |i, j| (0..b.len()).map(|k| a[i][k] * b[k][j]).sum())
}

fn plus(a: &Matrix, scale: f64, b: &Matrix) -> Matrix {
    matrix(a.len(), a[0].len(), |i, j| a[i][j] + scale * b[i][j])
}

fn inner(a: &Matrix, b: &Matrix) -> f64 {
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| a * b).sum()
}

/// `3 - a`
fn three_less(a: &Matrix) -> Matrix {
    matrix(a.len(), a.len(), |i, j| if i == j { 3.0 } else { 0.0 } - a[i][j])
}

fn half(a: &Matrix) -> Matrix {
    plus(&matrix(a.len(), a.len(), |_, _| 0.0), 0.5, a)
}

/// One image: y and the gradient of x.
fn formulas(shape: Shape, x: &[f64], grad_y: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (pixels, d) = (shape.pixels, shape.channels);
    let mean = |j: usize| (0..pixels).map(|p| x[p * d + j]).sum::<f64>() / pixels as f64;
    let means: Vec<f64> = (0..d).map(|j| if shape.center { mean(j) } else { 0.0 }).collect();
    let centered = matrix(d, pixels, |j, p| x[p * d + j] - means[j]);
    let transposed = matrix(pixels, d, |p, j| centered[j][p]);
    let zero = matrix(d, d, |_, _| 0.0);
    let s = plus(&zero, 1.0 / pixels as f64, &times(&centered, &transposed));
    let trace: f64 = (0..d).map(|i| s[i][i]).sum();
    let a = plus(&zero, 1.0 / trace, &s);
    let first = half(&three_less(&a));
    let mut steps = vec![(times(&a, &first), first)];
    for _ in 1..shape.num_iters {
        let (y, z) = &steps[steps.len() - 1];
        let t = half(&three_less(&times(z, y)));
        steps.push((times(y, &t), times(&t, z)));
    }
    let last = &steps[shape.num_iters - 1].0;
    let pairs: Vec<(usize, usize)> = (0..d).flat_map(|i| (i..d).map(move |j| (i, j))).collect();
    let y = pairs.iter().map(|(i, j)| trace.sqrt() * last[*i][*j]).collect();

    let mut g = zero.clone();
    pairs.iter().zip(grad_y).for_each(|((i, j), value)| g[*i][*j] = *value);
    let p = plus(&zero, trace.sqrt(), &g);
    let aux = inner(&g, last) / (2.0 * trace.sqrt());
    let (mut dy, mut dz) = (p, zero.clone());
    for (y, z) in steps[..shape.num_iters - 1].iter().rev() {
        let (yz, zy) = (times(y, z), times(z, y));
        let other = plus(&times(&times(z, &dz), z), 1.0, &times(&zy, &dy));
        let next_dy = half(&plus(&times(&dy, &three_less(&yz)), -1.0, &other));
        let other = plus(&times(&times(y, &dy), y), 1.0, &times(&dz, &zy));
        let next_dz = half(&plus(&times(&three_less(&yz), &dz), -1.0, &other));
        (dy, dz) = (next_dy, next_dz);
    }
    let other = plus(&dz, 1.0, &times(&a, &dy));
    let da = half(&plus(&times(&dy, &three_less(&a)), -1.0, &other));
    let diagonal = aux - inner(&da, &s) / (trace * trace);
    let ds = matrix(d, d, |i, j| {
        (da[i][j] + da[j][i]) / trace + if i == j { 2.0 * diagonal } else { 0.0 }
    });
    let dx = times(&transposed, &ds);
    (y, dx.into_iter().flatten().map(|value| value / pixels as f64).collect())
}

fn off(got: &[f64], expected: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut got.iter().zip(expected).map(|(a, b)| a - b));
    difference / norm(&mut expected.iter().copied()).max(1e-30)
}

struct Results<T> {
    y: Guarded<f32>,
    grad_x: Guarded<T>,
}

fn run<T: Number>(
    shape: Shape,
    x: &Guarded<T>,
    grad_y: &Guarded<f32>,
    parallel: &dyn Parallel,
) -> Results<T> {
    let mut y = Guarded::output(shape.batch * shape.triangle());
    let mut covariance = Guarded::output(shape.batch * shape.channels * shape.channels);
    let forward = Forward { shape, x: x.get(), y: y.get_mut(), covariance: covariance.get_mut() };
    forward.run(parallel).unwrap();
    let mut grad_x = Guarded::output(x.get().len());
    let backward = Backward {
        shape,
        grad_y: grad_y.get(),
        x: x.get(),
        y: y.checked(),
        covariance: covariance.checked(),
        grad_x: grad_x.get_mut(),
    };
    backward.run(parallel).unwrap();
    Results { y, grad_x }
}

fn check<T: Number>(shape: Shape, tolerance: f64) {
    let of_image = shape.pixels * shape.channels;
    let x = Guarded::<T>::input(noise(1, shape.batch * of_image).map(|v| 2.0 * v + 1.0));
    let grad_y = Guarded::<f32>::input(noise(2, shape.batch * shape.triangle()));
    let images = exact(x.get());
    let gradients = exact(grad_y.get());
    let expected: Vec<(Vec<f64>, Vec<f64>)> = images
        .chunks(of_image)
        .zip(gradients.chunks(shape.triangle()))
        .map(|(x, grad_y)| formulas(shape, x, grad_y))
        .collect();
    let y: Vec<f64> = expected.iter().flat_map(|(y, _)| y.clone()).collect();
    let grad_x: Vec<f64> = expected.iter().flat_map(|(_, grad_x)| grad_x.clone()).collect();
    for level in each_level() {
        let found = forced(level, || run(shape, &x, &grad_y, &Serial));
        let forward = off(&exact(found.y.checked()), &y);
        let backward = off(&exact(found.grad_x.checked()), &grad_x);
        assert!(forward < 1e-4, "{level:?} {shape:?}: y is off by {forward}");
        assert!(backward < tolerance, "{level:?} {shape:?}: grad_x is off by {backward}");
    }
    let (one, many) = (run(shape, &x, &grad_y, &Serial), run(shape, &x, &grad_y, &Scoped(3)));
    assert_eq!(one.y.get(), many.y.get());
    assert_eq!(floats(one.grad_x.get()), floats(many.grad_x.get()));
}

#[test]
fn results_are_the_formulas() {
    for (channels, pixels) in [(1, 5), (3, 7), (16, 20), (17, 4), (50, 21)] {
        for (num_iters, center) in [(1, true), (3, false), (5, true)] {
            let shape = Shape { batch: 2, pixels, channels, num_iters, center };
            check::<f32>(shape, 1e-3);
            check::<bf16>(shape, 1e-2);
        }
    }
}

#[test]
fn threads_share_the_blocks_of_few_images() {
    let shape = Shape { batch: 1, pixels: 51, channels: 165, num_iters: 2, center: true };
    check::<f32>(shape, 1e-3);
}

#[test]
fn constant_features_give_zeros() {
    for pixels in [1, 6] {
        let shape = Shape { batch: 1, pixels, channels: 5, num_iters: 5, center: true };
        let x = Guarded::<f32>::input(std::iter::repeat_n(0.75, 5 * pixels));
        let grad_y = Guarded::<f32>::input(noise(3, shape.triangle()));
        let found = run(shape, &x, &grad_y, &Serial);
        assert!(found.y.checked().iter().all(|value| *value == 0.0));
        assert!(found.grad_x.checked().iter().all(|value| *value == 0.0));
    }
}

#[test]
fn not_a_number_stays_none() {
    let shape = Shape { batch: 2, pixels: 4, channels: 3, num_iters: 3, center: true };
    let x = Guarded::<f32>::input(noise(4, 24).enumerate().map(|(i, v)| match i {
        2 => f32::NAN,
        _ => v,
    }));
    let grad_y = Guarded::<f32>::input(noise(5, 2 * shape.triangle()));
    let found = run(shape, &x, &grad_y, &Serial);
    let (first, second) = found.y.checked().split_at(shape.triangle());
    assert!(first.iter().all(|value| value.is_nan()));
    assert!(second.iter().all(|value| value.is_finite()));
}

#[test]
fn more_iterations_come_nearer_to_the_root() {
    let square = |num_iters: usize| {
        let shape = Shape { batch: 1, pixels: 64, channels: 4, num_iters, center: true };
        let x: Vec<f32> = noise(6, 256).collect();
        let (mut y, mut s) = (vec![0.0; shape.triangle()], vec![0.0; 16]);
        Forward { shape, x: &x, y: &mut y, covariance: &mut s }.run(&Serial).unwrap();
        let at = |i: usize, j: usize| {
            let (i, j) = (i.min(j), i.max(j));
            f64::from(y[i * 4 - i * (i + 1) / 2 + j])
        };
        let root = matrix(4, 4, at);
        off(&times(&root, &root).concat(), &exact(&s))
    };
    let errors = [1, 3, 5].map(square);
    assert!(errors.windows(2).all(|pair| pair[1] < pair[0]), "{errors:?}");
    assert!(square(20) < 1e-4, "rounding does not grow");
}

#[test]
fn nonsense_is_an_error() {
    let shape = Shape { batch: 1, pixels: 2, channels: 2, num_iters: 0, center: true };
    let forward = Forward { shape, x: &[0.0f32; 4], y: &mut [0.0; 3], covariance: &mut [0.0; 4] };
    assert!(forward.run(&Serial).unwrap_err().to_string().ends_with("got 1, 2, 2 and 0"));
    let shape = Shape { num_iters: 1, ..shape };
    let forward = Forward { shape, x: &[0.0f32; 4], y: &mut [0.0; 4], covariance: &mut [0.0; 4] };
    assert!(forward.run(&Serial).is_err());
}
