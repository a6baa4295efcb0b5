//! Decomposes a large kernel into a stack of 3x3 kernels (He, Li and Xu, arXiv 2109.00190).
//!
//! A convolution with a kernel of size 2k + 1 is a weighted sum over the shifts `a`, |a| <= k, of
//! the input. Each of k layers can shift by one more pixel: layer l has a channel for each
//! `x(p + a)` with |a| <= l. A shift with |a| = l is computed from its neighbor `a - e` by the tap
//! `e`, where `e` is the sign of those coordinates of `a` that have the absolute value l. A smaller
//! shift exists already and passes through the center tap. The steps of a path never reverse their
//! direction in a coordinate, so that a value never leaves the image and comes back. The stack is
//! therefore exact with zero padding too.

use ndarray::{Array4, ArrayView4};

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

/// A displacement, vertical and horizontal.
type Shift = [isize; 2];

/// The weights of 3x3 convolutions with stride 1 and padding 1, of which the composition equals the
/// convolution with `weight`. All have the shape `[out_channels, in_channels, height, width]`.
///
/// # Errors
/// The kernel is not square with an odd size of at least 3, or it has no channels.
pub fn decompose(weight: ArrayView4<'_, f64>, variant: Variant) -> Result<Vec<Array4<f64>>> {
    let (outputs, inputs, height, width) = weight.dim();
    let odd = height == width && height % 2 == 1 && height >= 3;
    if !odd || outputs * inputs == 0 {
        return Err(Error::LargeKernel { got: weight.shape().to_vec() });
    }
    let kernel = Kernel { weight, outputs, inputs, radius: (height / 2) as isize };
    Ok((1..=kernel.radius).map(|level| kernel.layer(level, variant)).collect())
}

struct Kernel<'a> {
    weight: ArrayView4<'a, f64>,
    outputs: usize,
    inputs: usize,
    radius: isize,
}

impl Kernel<'_> {
    fn at(&self, output: usize, input: usize, shift: Shift) -> f64 {
        let [y, x] = shift.map(|a| (a + self.radius) as usize);
        self.weight[[output, input, y, x]]
    }

    fn layer(&self, level: isize, variant: Variant) -> Array4<f64> {
        let (before, after) = (self.shifts(level - 1, variant), self.shifts(level, variant));
        let (sums_before, sums_after) = (self.sums(level - 1, variant), self.sums(level, variant));
        let last = level == self.radius;
        let carried = if last { 0 } else { self.inputs * after.len() };
        let mut layer =
            Array4::zeros((carried + sums_after, self.inputs * before.len() + sums_before, 3, 3));
        // The channel of shift number i of an input channel.
        let channel = |shifts: &[Shift], input: usize, i: usize| input * shifts.len() + i;
        let find = |shift: Shift| before.iter().position(|other| *other == shift);
        for input in 0..self.inputs {
            if !last {
                for (i, shift) in after.iter().enumerate() {
                    let (from, tap) = origin(*shift, level);
                    let from = find(from).expect("all shifts of a path have channels");
                    layer[place(channel(&after, input, i), channel(&before, input, from), tap)] =
                        1.0;
                }
            }
            // The weighted sums; the last layer adds all remaining shifts.
            for output in 0..sums_after {
                for (i, shift) in before.iter().enumerate() {
                    let value = self.at(output, input, *shift);
                    layer[place(carried + output, channel(&before, input, i), [0, 0])] = value;
                }
                for shift in ring(level).into_iter().filter(|_| last) {
                    let (from, tap) = origin(shift, level);
                    let from = find(from).expect("all shifts of a path have channels");
                    let value = self.at(output, input, shift);
                    layer[place(carried + output, channel(&before, input, from), tap)] = value;
                }
            }
        }
        for output in 0..sums_before.min(sums_after) {
            layer[place(carried + output, self.inputs * before.len() + output, [0, 0])] = 1.0;
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

/// The index of a tap in a 3x3 weight.
fn place(output: usize, input: usize, tap: Shift) -> [usize; 4] {
    let [y, x] = tap.map(|a| (a + 1) as usize);
    [output, input, y, x]
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
    use ndarray::Array3;

    use super::*;

    fn noise(seed: usize) -> impl FnMut() -> f64 {
        let mut i = 0;
        move || {
            i += 1;
            ((i * 7919 + seed * 104_729 + 13) as f64 * 0.618_034).sin()
        }
    }

    /// A convolution of `[channels, height, width]`, with zero or circular padding.
    fn convolve(x: &Array3<f64>, weight: &Array4<f64>, periodic: bool) -> Array3<f64> {
        let (_, height, width) = x.dim();
        let (outputs, _, size, _) = weight.dim();
        let reach = (size / 2) as isize;
        Array3::from_shape_fn((outputs, height, width), |(output, p, q)| {
            let mut sum = 0.0;
            for ((channel, input, a, b), value) in weight.indexed_iter() {
                let (row, column) = ((p + a) as isize - reach, (q + b) as isize - reach);
                let inside =
                    (0..height as isize).contains(&row) && (0..width as isize).contains(&column);
                if channel == output && (inside || periodic) {
                    let row = row.rem_euclid(height as isize) as usize;
                    let column = column.rem_euclid(width as isize) as usize;
                    sum += value * x[[input, row, column]];
                }
            }
            sum
        })
    }

    #[test]
    fn the_stack_is_the_large_kernel() {
        for (size, outputs, inputs) in [(3, 2, 3), (5, 1, 2), (5, 3, 1), (7, 2, 2), (9, 1, 1)] {
            let weight = Array4::from_shape_simple_fn((outputs, inputs, size, size), noise(size));
            for (height, width) in [(6, 5), (3, 9)] {
                let x = Array3::from_shape_simple_fn((inputs, height, width), noise(1));
                for (variant, periodic) in [
                    (Variant::Full, false),
                    (Variant::Full, true),
                    (Variant::Lean, false),
                    (Variant::Lean, true),
                ] {
                    let expected = convolve(&x, &weight, periodic);
                    let layers = decompose(weight.view(), variant).unwrap();
                    let found =
                        layers.iter().fold(x.clone(), |x, layer| convolve(&x, layer, periodic));
                    let worst = (found - expected).fold(0.0, |worst: f64, e| worst.max(e.abs()));
                    assert!(worst < 1e-12, "{size} {variant:?} {periodic}: {worst}");
                }
            }
        }
    }

    #[test]
    fn channels_are_the_formulas() {
        let (outputs, inputs, size) = (5, 3, 9);
        let weight = Array4::from_shape_simple_fn((outputs, inputs, size, size), noise(0));
        let channels = |variant| -> Vec<usize> {
            let layers = decompose(weight.view(), variant).unwrap();
            assert!(layers.windows(2).all(|pair| pair[0].dim().0 == pair[1].dim().1));
            assert_eq!(layers[0].dim().1, inputs);
            layers.iter().map(|layer| layer.dim().0).collect()
        };
        assert_eq!(channels(Variant::Full), [9 * 3, 25 * 3, 49 * 3, 5]);
        assert_eq!(channels(Variant::Lean), [8 * 3 + 5, 16 * 3 + 5, 24 * 3 + 5, 5]);
    }

    #[test]
    fn other_kernels_are_refused() {
        for shape in [[1, 1, 4, 4], [1, 1, 3, 5], [1, 1, 1, 1], [0, 1, 3, 3]] {
            let weight = Array4::zeros(shape);
            let message = decompose(weight.view(), Variant::Full).unwrap_err().to_string();
            assert!(message.contains("odd"), "{message}");
        }
    }
}
