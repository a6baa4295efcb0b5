//! A product along one dimension: which source each output sees through which tap.

use crate::kernels::cpu::convolution::{Geometry, Operand};

/// One dimension of a product. Output `first + out_step * i` of a phase sees the source
/// `step * i + offset` through a tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// Size of the source.
    pub source: usize,
    pub step: usize,
    pub out_step: usize,
    pub phases: Vec<Phase>,
}

/// Outputs that see the same taps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    pub first: usize,
    pub count: usize,
    pub taps: Vec<Tap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    /// Its place in the kernel.
    pub place: usize,
    pub offset: isize,
}

impl Axis {
    /// Dimension `dim` of a product; the geometry has been checked.
    pub(super) fn new(geometry: &Geometry, operand: Operand, dim: usize) -> Axis {
        match operand {
            Operand::Forward => Axis::forward(geometry, dim),
            Operand::GradInput => Axis::grad_input(geometry, dim),
        }
    }

    fn forward(geometry: &Geometry, dim: usize) -> Axis {
        let (padding, dilation) = (geometry.padding[dim], geometry.dilation[dim]);
        let tap =
            |place: usize| Tap { place, offset: (place * dilation) as isize - padding as isize };
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

    /// The most outputs that a phase has.
    pub(super) fn count(&self) -> usize {
        self.phases.iter().map(|phase| phase.count).max().unwrap_or(0)
    }

    /// The least and the greatest offset of all taps.
    pub(super) fn reach(&self) -> (isize, isize) {
        let offsets = || self.phases.iter().flat_map(|phase| &phase.taps).map(|tap| tap.offset);
        (offsets().min().unwrap_or(0), offsets().max().unwrap_or(0))
    }

    /// For each remainder modulo `step`, whether any tap sees sources that far from the least.
    pub(super) fn seen(&self) -> Vec<bool> {
        let (least, _) = self.reach();
        let mut seen = vec![false; self.step];
        for tap in self.phases.iter().flat_map(|phase| &phase.taps) {
            seen[(tap.offset - least) as usize % self.step] = true;
        }
        seen
    }
}

/// The taps through which input `first`, and every `stride`-th after it, went into an output.
fn taps_onto(geometry: &Geometry, dim: usize, first: usize) -> Vec<Tap> {
    let stride = geometry.stride[dim] as isize;
    let padded = (first + geometry.padding[dim]) as isize;
    let from = |place: usize| padded - (place * geometry.dilation[dim]) as isize;
    // From the last place to the first: so offsets ascend, as they do in the forward.
    let all = (0..geometry.kernel_size[dim]).rev().filter(|&place| from(place) % stride == 0);
    all.map(|place| Tap { place, offset: from(place) / stride }).collect()
}
