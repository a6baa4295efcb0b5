//! Decomposes a large kernel into a stack of 3x3 kernels (He, Li and Xu, arXiv 2109.00190).
//!
//! A convolution with a kernel of size 2k + 1 is a weighted sum over the shifts `a`, |a| <= k, of
//! the input. Each of k layers can shift by one more pixel: layer l has a channel for each
//! `x(p + a)` with |a| <= l. A shift with |a| = l is computed from its neighbor `a - e` by the tap
//! `e`, where `e` is the sign of those coordinates of `a` that have the absolute value l. A smaller
//! shift exists already and passes through the center tap. The steps of a path never reverse their
//! direction in a coordinate, so that a value never leaves the image and comes back. The stack is
//! therefore exact with zero padding too.

use crate::error::{Error, Result};

/// The channels of the layers before the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// All shifts by at most l: `channels * (2 l + 1)^2`.
    Full,
    /// The shifts by exactly l, and the partial sums over the smaller ones: `8 l * channels +
    /// out_channels`.
    Lean,
}

/// A 3x3 convolution with stride 1 and padding 1; `weight` is `[out_channels, in_channels, 3, 3]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub out_channels: usize,
    pub in_channels: usize,
    pub weight: Vec<f64>,
}

/// A displacement, vertical and horizontal.
type Shift = [isize; 2];

/// The layers of which the composition equals the convolution with `weight`, which has the shape
/// `[out_channels, in_channels, size, size]`.
///
/// # Errors
/// The kernel is not square with an odd size of at least 3, or it has no channels.
pub fn decompose(weight: &[f64], shape: [usize; 4], variant: Variant) -> Result<Vec<Layer>> {
    let [outputs, inputs, height, width] = shape;
    let odd = height == width && height % 2 == 1 && height >= 3;
    if !odd || outputs * inputs == 0 || weight.len() != outputs * inputs * height * width {
        return Err(Error::LargeKernel { got: shape.to_vec() });
    }
    let kernel = Kernel { weight, outputs, inputs, radius: (height / 2) as isize };
    Ok((1..=kernel.radius).map(|level| kernel.layer(level, variant)).collect())
}

struct Kernel<'a> {
    weight: &'a [f64],
    outputs: usize,
    inputs: usize,
    radius: isize,
}

impl Kernel<'_> {
    fn at(&self, output: usize, input: usize, [y, x]: Shift) -> f64 {
        let size = 2 * self.radius + 1;
        let place = (y + self.radius) * size + x + self.radius;
        self.weight[(output * self.inputs + input) * (size * size) as usize + place as usize]
    }

    fn layer(&self, level: isize, variant: Variant) -> Layer {
        let (before, after) = (self.shifts(level - 1, variant), self.shifts(level, variant));
        let (sums_before, sums_after) = (self.sums(level - 1, variant), self.sums(level, variant));
        let last = level == self.radius;
        let carried = if last { 0 } else { self.inputs * after.len() };
        let mut layer =
            Layer::zeros(carried + sums_after, self.inputs * before.len() + sums_before);
        // The channel of shift number i of an input channel.
        let channel = |shifts: &[Shift], input: usize, i: usize| input * shifts.len() + i;
        let find = |shift: Shift| before.iter().position(|other| *other == shift);
        for input in 0..self.inputs {
            if !last {
                for (i, shift) in after.iter().enumerate() {
                    let (from, tap) = origin(*shift, level);
                    let from = find(from).expect("all shifts of a path have channels");
                    layer.set(channel(&after, input, i), channel(&before, input, from), tap, 1.0);
                }
            }
            // The weighted sums; the last layer adds all remaining shifts.
            for output in 0..sums_after {
                for (i, shift) in before.iter().enumerate() {
                    let value = self.at(output, input, *shift);
                    layer.set(carried + output, channel(&before, input, i), [0, 0], value);
                }
                for shift in ring(level).into_iter().filter(|_| last) {
                    let (from, tap) = origin(shift, level);
                    let from = find(from).expect("all shifts of a path have channels");
                    let value = self.at(output, input, shift);
                    layer.set(carried + output, channel(&before, input, from), tap, value);
                }
            }
        }
        for output in 0..sums_before.min(sums_after) {
            layer.set(carried + output, self.inputs * before.len() + output, [0, 0], 1.0);
        }
        layer
    }

    /// The shifts of each input channel that have channels after a level.
    fn shifts(&self, level: isize, variant: Variant) -> Vec<Shift> {
        match variant {
            Variant::Full => (0..=level).flat_map(ring).collect(),
            Variant::Lean => ring(level),
        }
    }

    /// The number of channels for sums after a level.
    fn sums(&self, level: isize, variant: Variant) -> usize {
        let has = level == self.radius || (variant == Variant::Lean && level > 0);
        if has {
            self.outputs
        } else {
            0
        }
    }
}

impl Layer {
    fn zeros(out_channels: usize, in_channels: usize) -> Self {
        Layer { out_channels, in_channels, weight: vec![0.0; 9 * out_channels * in_channels] }
    }

    fn set(&mut self, output: usize, input: usize, [y, x]: Shift, value: f64) {
        let tap = (3 * (y + 1) + x + 1) as usize;
        self.weight[9 * (output * self.in_channels + input) + tap] = value;
    }
}

/// The shift from which a shift of this level is computed, and the tap.
fn origin(shift: Shift, level: isize) -> (Shift, Shift) {
    let tap = shift.map(|a| if a.abs() == level { a.signum() } else { 0 });
    ([shift[0] - tap[0], shift[1] - tap[1]], tap)
}

/// The shifts with a larger coordinate of absolute value `level`.
fn ring(level: isize) -> Vec<Shift> {
    let range = -level..=level;
    let all = range.clone().flat_map(|y| range.clone().map(move |x| [y, x]));
    all.filter(|[y, x]| y.abs().max(x.abs()) == level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: usize, len: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729 + 13) as f64 * 0.618_034).sin()).collect()
    }

    /// A convolution of `[channels][height][width]`, with zero or circular padding.
    fn convolve(
        x: &[f64],
        [height, width]: [usize; 2],
        (weight, [outputs, inputs, size]): (&[f64], [usize; 3]),
        periodic: bool,
    ) -> Vec<f64> {
        let reach = (size / 2) as isize;
        let mut y = vec![0.0; outputs * height * width];
        for (place, y) in y.iter_mut().enumerate() {
            let (output, p, q) = (place / (height * width), place / width % height, place % width);
            for input in 0..inputs {
                for a in -reach..=reach {
                    for b in -reach..=reach {
                        let (row, column) = (p as isize + a, q as isize + b);
                        let inside = (0..height as isize).contains(&row)
                            && (0..width as isize).contains(&column);
                        if !inside && !periodic {
                            continue;
                        }
                        let row = row.rem_euclid(height as isize) as usize;
                        let column = column.rem_euclid(width as isize) as usize;
                        let tap = (a + reach) as usize * size + (b + reach) as usize;
                        *y += weight[(output * inputs + input) * size * size + tap]
                            * x[(input * height + row) * width + column];
                    }
                }
            }
        }
        y
    }

    #[test]
    fn the_stack_is_the_large_kernel() {
        for (size, outputs, inputs) in [(3, 2, 3), (5, 1, 2), (5, 3, 1), (7, 2, 2), (9, 1, 1)] {
            let weight = noise(size, outputs * inputs * size * size);
            for image in [[6, 5], [3, 9]] {
                let x = noise(1, inputs * image[0] * image[1]);
                for (variant, periodic) in [
                    (Variant::Full, false),
                    (Variant::Full, true),
                    (Variant::Lean, false),
                    (Variant::Lean, true),
                ] {
                    let large = (&weight[..], [outputs, inputs, size]);
                    let expected = convolve(&x, image, large, periodic);
                    let layers = decompose(&weight, [outputs, inputs, size, size], variant);
                    let found = layers.unwrap().iter().fold(x.clone(), |x, layer| {
                        let small = (&layer.weight[..], [layer.out_channels, layer.in_channels, 3]);
                        convolve(&x, image, small, periodic)
                    });
                    let errors = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
                    let worst = errors.fold(0.0, f64::max);
                    assert!(worst < 1e-12, "{size} {variant:?} {periodic}: {worst}");
                }
            }
        }
    }

    #[test]
    fn channels_are_the_formulas() {
        let (outputs, inputs, size) = (5, 3, 9);
        let weight = noise(0, outputs * inputs * size * size);
        let channels = |variant| -> Vec<usize> {
            let layers = decompose(&weight, [outputs, inputs, size, size], variant).unwrap();
            assert!(layers.windows(2).all(|pair| pair[0].out_channels == pair[1].in_channels));
            assert_eq!(layers[0].in_channels, inputs);
            layers.iter().map(|layer| layer.out_channels).collect()
        };
        assert_eq!(channels(Variant::Full), [9 * 3, 25 * 3, 49 * 3, 5]);
        assert_eq!(channels(Variant::Lean), [8 * 3 + 5, 16 * 3 + 5, 24 * 3 + 5, 5]);
    }

    #[test]
    fn other_kernels_are_refused() {
        for shape in [[1, 1, 4, 4], [1, 1, 3, 5], [1, 1, 1, 1], [0, 1, 3, 3]] {
            let weight = vec![0.0; shape.iter().product()];
            let message = decompose(&weight, shape, Variant::Full).unwrap_err().to_string();
            assert!(message.contains("odd"), "{message}");
        }
    }
}
