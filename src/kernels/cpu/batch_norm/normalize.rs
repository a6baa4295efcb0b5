//! The elementwise half: `y = relu((x - mean) * scale + shift + residual)`.

use super::tiling::{load, store, windows, Tiling, WINDOW};
use super::Shape;
use crate::error::Result;
use crate::instructions::{vectorized, Vectorized};
use crate::kernels::cpu::parallel::{run_all, Parallel};
use crate::kernels::cpu::parts::Parts;
use crate::kernels::cpu::Element;

/// What is done to each channel. The mean is taken off first, not folded into the shift: where it
/// is large, that keeps the digits that matter.
pub(super) struct Affine {
    mean: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Affine {
    /// `mean` and `invstd` give one channel's statistics; all arithmetic on them is f64.
    pub(super) fn new(
        channels: usize,
        weight: Option<&[f32]>,
        bias: Option<&[f32]>,
        statistics: impl Fn(usize) -> (f64, f64),
    ) -> Affine {
        let new = || vec![0.0; channels];
        let mut affine = Affine { mean: new(), scale: new(), shift: new() };
        for c in 0..channels {
            let (mean, invstd) = statistics(c);
            let scale = weight.map_or(1.0, |weight| weight[c] as f64) * invstd;
            let rounded = mean as f32;
            affine.mean[c] = rounded;
            affine.scale[c] = scale as f32;
            // What rounding the mean leaves over goes into the shift.
            let left = (rounded as f64 - mean) * scale;
            affine.shift[c] = (bias.map_or(0.0, |bias| bias[c] as f64) + left) as f32;
        }
        affine
    }

    fn spread(&self, tiling: &Tiling) -> Affine {
        Affine {
            mean: tiling.spread(&self.mean),
            scale: tiling.spread(&self.scale),
            shift: tiling.spread(&self.shift),
        }
    }
}

/// Writes `y`; all slices have been checked.
pub(super) fn normalize<T: Element>(
    parallel: &dyn Parallel,
    shape: Shape,
    affine: &Affine,
    relu: bool,
    x: &[T],
    residual: Option<&[T]>,
    y: &mut [T],
) -> Result<()> {
    let tiling = Tiling::new(shape);
    let affine = &affine.spread(&tiling);
    let parts = Parts::new(y, tiling.part());
    run_all(parallel, tiling.tasks(), |task| {
        let range = tiling.range(task);
        let (x, y) = (&x[range.clone()], parts.take(task));
        match (relu, residual.map(|residual| &residual[range])) {
            (false, None) => vectorized(Pass::<T, false, false> { tiling, affine, x, r: &[], y }),
            (true, None) => vectorized(Pass::<T, true, false> { tiling, affine, x, r: &[], y }),
            (false, Some(r)) => vectorized(Pass::<T, false, true> { tiling, affine, x, r, y }),
            (true, Some(r)) => vectorized(Pass::<T, true, true> { tiling, affine, x, r, y }),
        }
    })
}

/// One task; `r` is the residual, empty when there is none.
struct Pass<'a, T, const RELU: bool, const RESIDUAL: bool> {
    tiling: Tiling,
    affine: &'a Affine,
    x: &'a [T],
    r: &'a [T],
    y: &'a mut [T],
}

impl<T: Element, const RELU: bool, const RESIDUAL: bool> Vectorized
    for Pass<'_, T, RELU, RESIDUAL>
{
    #[inline(always)]
    fn run(mut self) {
        let (wide, end) = (self.tiling.wide(self.x.len()), self.x.len());
        let (lanes, channels) = (self.tiling.lanes(), self.tiling.channels);
        let block = self.tiling.block();
        for from in (0..wide).step_by(block) {
            self.rows::<WINDOW>(from, (from + block).min(wide), lanes);
        }
        self.rows::<1>(wide, end, channels);
    }
}

impl<T: Element, const RELU: bool, const RESIDUAL: bool> Pass<'_, T, RELU, RESIDUAL> {
    /// The rows of `lanes` elements that lie between `from` and `to`.
    #[inline(always)]
    fn rows<const W: usize>(&mut self, from: usize, to: usize, lanes: usize) {
        for (start, _) in windows::<W>(lanes) {
            let mean: [f32; W] = load(&self.affine.mean, start);
            let scale: [f32; W] = load(&self.affine.scale, start);
            let shift: [f32; W] = load(&self.affine.shift, start);
            for row in (from..to).step_by(lanes) {
                let mut v: [f32; W] = load(self.x, row + start);
                for i in 0..W {
                    v[i] = (v[i] - mean[i]) * scale[i] + shift[i];
                }
                if RESIDUAL {
                    let r: [f32; W] = load(self.r, row + start);
                    for i in 0..W {
                        v[i] += r[i];
                    }
                }
                if RELU {
                    // Not `max`, which would hide a NaN.
                    for v in &mut v {
                        *v = if *v < 0.0 { 0.0 } else { *v };
                    }
                }
                store(v, self.y, row + start);
            }
        }
    }
}
