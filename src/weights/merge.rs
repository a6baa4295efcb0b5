//! Two convolutions in a row as one.
//!
//! Folding a batch norm is the same with a convolution of 1x1 for each channel; see
//! `Convolution::norm`.

use ndarray::{s, Array1, Array4};

use super::convolution::Convolution;
use super::geometry::{gcd, Geometry, Pair};
use crate::error::Result;

impl Convolution {
    /// The convolution that computes this one and then `next`; exact within its frame.
    ///
    /// # Errors
    /// `next` has other input channels than this one has outputs.
    pub fn then(&self, next: &Convolution) -> Result<Convolution> {
        let (first, second) = (self.geometry(), next.geometry());
        let geometry = first.then(second)?;
        let groups = [first.groups, second.groups];
        let marks = first.marks(second);
        let weight = Composition { first, second, merged: &geometry, groups }
            .of(self.weight(), next.weight());
        let ones = Composition { groups: [1, second.groups], first, second, merged: &geometry };
        let mut bias = next.bias().clone();
        let border = match (self.border_with_bias(marks), marks) {
            (None, _) if next.border().is_none() || marks.is_none() => None,
            (own, marks) => {
                let mut border = own.map(|own| ones.of(&own, next.weight()));
                if let (Some(its), Some(tap)) = (next.border(), marks) {
                    let mark = marked(&Array1::ones(1), tap, first.kernel_size);
                    let one = Composition { groups: [1, 1], ..ones };
                    let shifted = one.of(&mark, its);
                    border = Some(border.map_or(shifted.clone(), |border| border + shifted));
                }
                border
            }
        };
        if marks.is_none() {
            bias += &summed(next, self.bias());
            // Beyond the frame, the image of ones has no border in reach.
            bias += &next.border().map_or(Array1::zeros(bias.len()), |its| {
                Convolution::sums(its).column(0).to_owned()
            });
        }
        Convolution::new(geometry, weight, bias, border)
    }

    /// The weight of the image of ones before the next convolution, which includes the bias if a
    /// tap marks where the result is.
    fn border_with_bias(&self, marks: Option<Pair>) -> Option<Array4<f64>> {
        let bias = marks.map(|tap| marked(self.bias(), tap, self.geometry().kernel_size));
        match (self.border(), bias) {
            (Some(border), Some(bias)) => Some(border + bias),
            (border, bias) => border.cloned().or(bias),
        }
    }
}

/// A weight of an image of ones that has the `values` at one tap.
fn marked(values: &Array1<f64>, tap: Pair, kernel_size: Pair) -> Array4<f64> {
    let mut weight = Array4::zeros((values.len(), 1, kernel_size[0], kernel_size[1]));
    weight.slice_mut(s![.., 0, tap[0], tap[1]]).assign(values);
    weight
}

/// What a convolution makes of constant channels, away from the border, without its own bias.
fn summed(convolution: &Convolution, constants: &Array1<f64>) -> Array1<f64> {
    let sums = Convolution::sums(convolution.weight());
    let (outputs, inputs) = sums.dim();
    let block = outputs / convolution.geometry().groups;
    (0..outputs)
        .map(|output| {
            let from = output / block * inputs;
            sums.row(output).dot(&constants.slice(s![from..from + inputs]))
        })
        .collect()
}

/// How the weights of two convolutions become one.
#[derive(Clone, Copy)]
struct Composition<'a> {
    first: &'a Geometry,
    second: &'a Geometry,
    merged: &'a Geometry,
    /// The groups of both weights.
    groups: [usize; 2],
}

impl Composition<'_> {
    /// The merged weight: for each pair of groups that share channels, and each pair of taps, a
    /// product of matrices.
    fn of(&self, first: &Array4<f64>, second: &Array4<f64>) -> Array4<f64> {
        let [outer, inner] = [self.groups[1], self.groups[0]];
        let groups = gcd(inner, outer);
        let (middle, inputs) = (first.dim().0, first.dim().1);
        let outputs = second.dim().0;
        let [height, width] = self.merged.kernel_size;
        let mut weight = Array4::zeros((outputs, inputs * inner / groups, height, width));
        let (wide, narrow, block) = (middle / outer, middle / inner, outputs / outer);
        for group in 0..outer {
            let (start, end) = (group * wide, (group + 1) * wide);
            for own in start / narrow..end.div_ceil(narrow) {
                let shared = start.max(own * narrow)..end.min((own + 1) * narrow);
                // The inputs of a group are counted within the group of the result.
                let to = own % (inner / groups) * inputs;
                for ([y, x], [i, j], [p, q]) in self.taps() {
                    let left = second.slice(s![
                        group * block..(group + 1) * block,
                        shared.start - start..shared.end - start,
                        i,
                        j
                    ]);
                    let right = first.slice(s![shared.clone(), .., y, x]);
                    let mut sum = weight.slice_mut(s![
                        group * block..(group + 1) * block,
                        to..to + inputs,
                        p,
                        q
                    ]);
                    ndarray::linalg::general_mat_mul(1.0, &left, &right, 1.0, &mut sum);
                }
            }
        }
        weight
    }

    /// The taps of the first kernel, of the second one, and of the merged one that has their
    /// product.
    fn taps(&self) -> impl Iterator<Item = (Pair, Pair, Pair)> + '_ {
        let all = |size: Pair| (0..size[0]).flat_map(move |y| (0..size[1]).map(move |x| [y, x]));
        all(self.first.kernel_size).flat_map(move |a| {
            all(self.second.kernel_size).map(move |b| {
                let at = [0, 1].map(|dim| {
                    let step = self.first.stride[dim] * self.second.dilation[dim];
                    (a[dim] * self.first.dilation[dim] + b[dim] * step) / self.merged.dilation[dim]
                });
                (a, b, at)
            })
        })
    }
}
