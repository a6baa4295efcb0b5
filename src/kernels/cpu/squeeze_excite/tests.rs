//! Against the definition in f64.

use half::bf16;

use super::*;
use crate::cpu::testing::{each_level, exact, floats, forced, noise, Guarded, Scoped};
use crate::cpu::Serial;
use crate::cpu::{Number, Parallel};

struct Results<T> {
    means: Guarded<T>,
    y: Guarded<T>,
    grad_x: Guarded<T>,
    grad_scale: Guarded<T>,
}

struct Case<T> {
    shape: Shape,
    x: Guarded<T>,
    scale: Guarded<T>,
    grad_y: Guarded<T>,
}

impl<T: Number> Case<T> {
    fn new(shape: Shape) -> Case<T> {
        let len = shape.batch * shape.of_image();
        Case {
            shape,
            x: Guarded::input(noise(1, len)),
            scale: Guarded::input(noise(2, shape.batch * shape.channels)),
            grad_y: Guarded::input(noise(3, len)),
        }
    }

    fn run(&self, parallel: &dyn Parallel) -> Results<T> {
        let Case { shape, x, scale, grad_y } = self;
        let (x, scale) = (x.get(), scale.get());
        let mut means = Guarded::output(scale.len());
        Means { shape: *shape, x, y: means.get_mut() }.run(parallel).unwrap();
        let mut y = Guarded::output(x.len());
        Scale { shape: *shape, x, scale, y: y.get_mut() }.run(parallel).unwrap();
        let (mut grad_x, mut grad_scale) = (Guarded::output(x.len()), Guarded::output(scale.len()));
        let backward = ScaleBackward {
            shape: *shape,
            grad_y: grad_y.get(),
            x,
            scale,
            grad_x: grad_x.get_mut(),
            grad_scale: grad_scale.get_mut(),
        };
        backward.run(parallel).unwrap();
        Results { means, y, grad_x, grad_scale }
    }

    /// `unit` is the rounding of `T`.
    fn check(&self, results: &Results<T>, unit: f64) {
        let Shape { channels, pixels, layout, .. } = self.shape;
        let (x, grad_y) = (exact(self.x.get()), exact(self.grad_y.get()));
        let scale = exact(self.scale.get());
        let (y, grad_x) = (exact(results.y.checked()), exact(results.grad_x.checked()));
        let (means, grad_scale) = (&results.means, &results.grad_scale);
        let (means, grad_scale) = (exact(means.checked()), exact(grad_scale.checked()));
        for (number, scale) in scale.iter().enumerate() {
            let (image, channel) = (number / channels, number % channels);
            let (mut mean, mut product, mut size) = (0.0, 0.0, 0.0);
            for pixel in 0..pixels {
                let at = match layout {
                    Layout::ChannelsLast => (image * pixels + pixel) * channels + channel,
                    Layout::Planes => number * pixels + pixel,
                };
                close(y[at], x[at] * scale, unit);
                close(grad_x[at], grad_y[at] * scale, unit);
                mean += x[at] / pixels as f64;
                product += grad_y[at] * x[at];
                size += (grad_y[at] * x[at]).abs();
            }
            close(means[number], mean, unit * mean.abs() + 1e-6);
            close(grad_scale[number], product, unit * product.abs() + 1e-6 * size);
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
    assert_eq!(floats(one.means.get()), floats(many.means.get()));
    assert_eq!(floats(one.y.get()), floats(many.y.get()));
    assert_eq!(floats(one.grad_x.get()), floats(many.grad_x.get()));
    assert_eq!(floats(one.grad_scale.get()), floats(many.grad_scale.get()));
}

#[test]
fn results_are_the_definition() {
    let sizes = [(1, 1), (3, 7), (16, 64), (17, 130), (64, 5), (85, 16), (200, 33)];
    for (channels, pixels) in sizes {
        for layout in [Layout::ChannelsLast, Layout::Planes] {
            let shape = Shape { batch: 3, channels, pixels, layout };
            check::<f32>(shape, 1e-7);
            check::<bf16>(shape, 4e-3);
        }
    }
}

#[test]
fn long_sums_stay_precise() {
    for layout in [Layout::ChannelsLast, Layout::Planes] {
        let shape = Shape { batch: 1, channels: 2, pixels: 40_000, layout };
        let (x, ones) = (vec![0.1f32; 80_000], vec![1.0f32; 80_000]);
        let (mut grad_x, mut grad_scale) = (vec![0.0; 80_000], vec![0.0; 2]);
        let (scale, grad_y) = (&ones[..2], &ones[..]);
        let (grad_x, sums) = (&mut grad_x[..], &mut grad_scale[..]);
        let backward = ScaleBackward { shape, grad_y, x: &x, scale, grad_x, grad_scale: sums };
        backward.run(&Serial).unwrap();
        assert!(grad_scale.iter().all(|sum| (sum - 4000.0).abs() < 0.1), "{grad_scale:?}");
        Means { shape, x: &x, y: &mut grad_scale }.run(&Serial).unwrap();
        assert!(grad_scale.iter().all(|mean| (mean - 0.1).abs() < 3e-6), "{grad_scale:?}");
    }
}

#[test]
fn nothing_is_scaled_to_nothing() {
    for (batch, channels, pixels) in [(0, 3, 4), (2, 0, 4), (2, 3, 0)] {
        let shape = Shape { batch, channels, pixels, layout: Layout::ChannelsLast };
        let scale = vec![1.0f32; batch * channels];
        let mut grad_scale = vec![f32::NAN; batch * channels];
        Scale { shape, x: &[], scale: &scale, y: &mut [] }.run(&Serial).unwrap();
        let sums = &mut grad_scale[..];
        let (grad_x, scale) = (&mut [][..], &scale[..]);
        let backward =
            ScaleBackward { shape, grad_y: &[], x: &[], scale, grad_x, grad_scale: sums };
        backward.run(&Serial).unwrap();
        assert!(grad_scale.iter().all(|sum| *sum == 0.0), "sums of nothing");
    }
}

#[test]
fn slices_of_other_lengths_are_errors() {
    let shape = Shape { batch: 2, channels: 3, pixels: 4, layout: Layout::Planes };
    let (x, scale, mut y) = ([0.0f32; 24], [0.0; 6], [0.0; 23]);
    let forward = Scale { shape, x: &x, scale: &scale, y: &mut y };
    let message = forward.run(&Serial).unwrap_err().to_string();
    assert!(message.contains("y must have 24 elements, got 23"), "{message}");
    let huge = Shape { channels: usize::MAX, ..shape };
    let forward = Scale { shape: huge, x: &x, scale: &scale, y: &mut y };
    assert!(forward.run(&Serial).is_err());
}
