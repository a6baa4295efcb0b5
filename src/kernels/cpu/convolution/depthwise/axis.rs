//! One dimension of a correlation: the sources that each output reads.

use crate::kernels::cpu::convolution::Geometry;

/// Output `j` is the sum over the taps `t` of the weight times input
/// `origin + j * step + t * dilation`, if there is such an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    pub inputs: usize,
    pub outputs: usize,
    pub origin: isize,
    pub step: usize,
    pub dilation: usize,
    pub taps: usize,
    /// Index in the kernel of the first tap, and the distance from tap to tap.
    indices: (isize, isize),
}

impl Axis {
    pub(super) fn forward(geometry: &Geometry, dim: usize) -> Axis {
        Axis {
            inputs: geometry.in_size[dim],
            outputs: geometry.out_size()[dim],
            origin: -(geometry.padding[dim] as isize),
            step: geometry.stride[dim],
            dilation: geometry.dilation[dim],
            taps: geometry.kernel_size[dim],
            indices: (0, 1),
        }
    }

    /// The axis along which `grad_y` gives the gradients of the inputs `phase`, `phase + stride`
    /// and so on.
    ///
    /// Input `i` is multiplied by weight `k` of the kernel in output
    /// `(i + padding - k * dilation) / stride`, if that is an integer. It is one for every
    /// `period`-th `k`, which are the same for the whole phase.
    pub(super) fn gradient(geometry: &Geometry, dim: usize, phase: usize) -> Axis {
        let (stride, dilation) = (geometry.stride[dim], geometry.dilation[dim]);
        let taps = geometry.kernel_size[dim];
        let period = stride / common_divisor(stride, dilation);
        let output = |index: usize| {
            let scaled = (phase + geometry.padding[dim]) as isize - (index * dilation) as isize;
            (scaled % stride as isize == 0).then_some(scaled / stride as isize)
        };
        let first = (0..taps.min(period)).find(|&index| output(index).is_some());
        let taps = first.map_or(0, |first| (taps - 1 - first) / period + 1);
        let last = first.unwrap_or(0) + taps.saturating_sub(1) * period;
        Axis {
            inputs: geometry.out_size()[dim],
            outputs: geometry.in_size[dim].saturating_sub(phase).div_ceil(stride),
            origin: output(last).unwrap_or(0),
            step: 1,
            dilation: dilation * period / stride,
            taps,
            indices: (last as isize, -(period as isize)),
        }
    }

    /// Index of a tap in the kernel.
    pub(super) fn index(&self, tap: usize) -> usize {
        (self.indices.0 + tap as isize * self.indices.1) as usize
    }

    /// Whether taps are neighbors, the first output has an input under its last tap or an earlier
    /// one, and only the last output may have none at all. That holds for any usual padding.
    pub(super) fn is_plain(&self) -> bool {
        let starts = (self.outputs * self.step) as isize;
        let neighbors = self.dilation == 1 || self.taps == 1;
        let end = self.origin + starts - 2 * self.step as isize;
        neighbors && self.origin + self.taps as isize > 0 && end < self.inputs as isize
    }

    /// The taps of output `j` that have an input.
    pub(super) fn met(&self, j: usize) -> Met {
        let start = self.origin + (j * self.step) as isize;
        let before = |input: usize| {
            let columns = (input as isize - start).max(0) as usize;
            columns.div_ceil(self.dilation).min(self.taps)
        };
        let (tap, end) = (before(0), before(self.inputs));
        let taps = end.saturating_sub(tap);
        // Without taps, the input is not read.
        let input = (start + (tap * self.dilation) as isize) as usize;
        Met { tap, taps, input: if taps > 0 { input } else { 0 } }
    }
}

/// `taps` taps of the kernel from `tap` on, the first of which is above `input`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Met {
    pub tap: usize,
    pub taps: usize,
    pub input: usize,
}

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Input, output and index in the kernel of each product, in order.
    fn products(axis: Axis, input: impl Fn(usize, usize) -> (usize, usize)) -> Vec<[usize; 3]> {
        let mut all = vec![];
        for j in 0..axis.outputs {
            let met = axis.met(j);
            for i in 0..met.taps {
                let (input, output) = input(j, met.input + i * axis.dilation);
                all.push([input, output, axis.index(met.tap + i)]);
            }
        }
        all.sort();
        all
    }

    #[test]
    fn the_gradient_has_the_products_of_the_forward() {
        for (size, kernel, stride) in
            (1..9).flat_map(|s| (1..6).flat_map(move |k| (1..5).map(move |stride| (s, k, stride))))
        {
            for (padding, dilation) in (0..4).flat_map(|p| (1..5).map(move |d| (p, d))) {
                let geometry = Geometry {
                    batch: 1,
                    in_channels: 1,
                    out_channels: 1,
                    in_size: [size; 2],
                    kernel_size: [kernel; 2],
                    stride: [stride; 2],
                    padding: [padding; 2],
                    dilation: [dilation; 2],
                    groups: 1,
                    num_blocks: 1,
                };
                if geometry.check().is_err() {
                    continue;
                }
                let forward = products(Axis::forward(&geometry, 0), |j, from| (from, j));
                let mut backward: Vec<_> = (0..stride)
                    .flat_map(|phase| {
                        let axis = Axis::gradient(&geometry, 0, phase);
                        products(axis, move |j, from| (phase + j * stride, from))
                    })
                    .collect();
                backward.sort();
                assert_eq!(forward, backward, "{geometry:?}");
            }
        }
    }
}
