//! One dimension of a correlation: the source that each output reads for each tap.

use crate::kernels::cpu::convolution::{Geometry, Operand};

/// Output `first + out_step * i` of a phase reads source `step * i + offset` for a tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// Size of the source.
    pub source: usize,
    pub step: usize,
    pub out_step: usize,
    pub phases: Vec<Phase>,
}

/// Outputs that read the same taps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    pub first: usize,
    pub count: usize,
    pub taps: Vec<Tap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    /// Index of the tap in the kernel.
    pub index: usize,
    pub offset: isize,
}

impl Axis {
    /// Dimension `dim` of the correlation. The geometry has been checked.
    pub(super) fn new(geometry: &Geometry, operand: Operand, dim: usize) -> Axis {
        match operand {
            Operand::Forward => Axis::forward(geometry, dim),
            Operand::GradInput => Axis::grad_input(geometry, dim),
        }
    }

    fn forward(geometry: &Geometry, dim: usize) -> Axis {
        let (padding, dilation) = (geometry.padding[dim], geometry.dilation[dim]);
        let tap =
            |index: usize| Tap { index, offset: (index * dilation) as isize - padding as isize };
        let taps = (0..geometry.kernel_size[dim]).map(tap).collect();
        Axis {
            source: geometry.in_size[dim],
            step: geometry.stride[dim],
            out_step: 1,
            phases: vec![Phase { first: 0, count: geometry.out_size()[dim], taps }],
        }
    }

    fn grad_input(geometry: &Geometry, dim: usize) -> Axis {
        let (size, stride) = (geometry.in_size[dim], geometry.stride[dim]);
        let phase = |first: usize| Phase {
            first,
            count: (size - first).div_ceil(stride),
            taps: taps_onto(geometry, dim, first),
        };
        Axis {
            source: geometry.out_size()[dim],
            step: 1,
            out_step: stride,
            phases: (0..stride.min(size)).map(phase).collect(),
        }
    }

    /// Outputs of the largest phase.
    pub(super) fn count(&self) -> usize {
        self.phases.iter().map(|phase| phase.count).max().unwrap_or(0)
    }

    /// The smallest and the largest offset of all taps.
    pub(super) fn reach(&self) -> (isize, isize) {
        let offsets = || self.phases.iter().flat_map(|phase| &phase.taps).map(|tap| tap.offset);
        (offsets().min().unwrap_or(0), offsets().max().unwrap_or(0))
    }

    /// For each remainder modulo `step`, whether a tap reads sources at that distance from the
    /// smallest offset.
    pub(super) fn used(&self) -> Vec<bool> {
        let (least, _) = self.reach();
        let mut used = vec![false; self.step];
        for tap in self.phases.iter().flat_map(|phase| &phase.taps) {
            used[(tap.offset - least) as usize % self.step] = true;
        }
        used
    }
}

/// The taps that connect input `first`, and every `stride`-th input after it, with an output.
fn taps_onto(geometry: &Geometry, dim: usize, first: usize) -> Vec<Tap> {
    let stride = geometry.stride[dim] as isize;
    let padded = (first + geometry.padding[dim]) as isize;
    let from = |index: usize| padded - (index * geometry.dilation[dim]) as isize;
    // From the last index to the first, so that offsets ascend as they do in the forward.
    let all = (0..geometry.kernel_size[dim]).rev().filter(|&index| from(index) % stride == 0);
    all.map(|index| Tap { index, offset: from(index) / stride }).collect()
}
