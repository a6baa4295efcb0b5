//! The second backward pass: the gradient of `x`.

use super::tiling::{load, store, windows, Tiling, WINDOW};
use super::Shape;
use crate::error::Result;
use crate::instructions::{vectorized, Vectorized};
use crate::kernels::cpu::parallel::{run_all, Parallel};
use crate::kernels::cpu::parts::Parts;
use crate::kernels::cpu::Element;

/// `grad_x = scale * g + slope * (x - mean) + shift` for each channel: the derivative through the
/// normalization itself and through the two statistics.
pub(super) struct Linear {
    pub mean: Vec<f32>,
    pub scale: Vec<f32>,
    pub slope: Vec<f32>,
    pub shift: Vec<f32>,
}

impl Linear {
    fn spread(&self, tiling: &Tiling) -> Linear {
        Linear {
            mean: tiling.spread(&self.mean),
            scale: tiling.spread(&self.scale),
            slope: tiling.spread(&self.slope),
            shift: tiling.spread(&self.shift),
        }
    }
}

/// Writes `grad_x`; with `y`, `grad` is masked by it. All slices have been checked.
pub(super) fn input_gradient<T: Element>(
    parallel: &dyn Parallel,
    shape: Shape,
    linear: &Linear,
    grad: &[T],
    y: Option<&[T]>,
    x: &[T],
    grad_x: &mut [T],
) -> Result<()> {
    let tiling = Tiling::new(shape);
    let linear = &linear.spread(&tiling);
    let parts = Parts::new(grad_x, tiling.part());
    run_all(parallel, tiling.tasks(), |task| {
        let range = tiling.range(task);
        let (grad, x, out) = (&grad[range.clone()], &x[range.clone()], parts.take(task));
        match y.map(|y| &y[range]) {
            None => vectorized(Pass::<T, false> { tiling, linear, grad, y: &[], x, out }),
            Some(y) => vectorized(Pass::<T, true> { tiling, linear, grad, y, x, out }),
        }
    })
}

/// One task.
struct Pass<'a, T, const RELU: bool> {
    tiling: Tiling,
    linear: &'a Linear,
    grad: &'a [T],
    y: &'a [T],
    x: &'a [T],
    out: &'a mut [T],
}

impl<T: Element, const RELU: bool> Vectorized for Pass<'_, T, RELU> {
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

impl<T: Element, const RELU: bool> Pass<'_, T, RELU> {
    /// The rows of `lanes` elements that lie between `from` and `to`.
    #[inline(always)]
    fn rows<const W: usize>(&mut self, from: usize, to: usize, lanes: usize) {
        for (start, _) in windows::<W>(lanes) {
            let mean: [f32; W] = load(&self.linear.mean, start);
            let scale: [f32; W] = load(&self.linear.scale, start);
            let slope: [f32; W] = load(&self.linear.slope, start);
            let shift: [f32; W] = load(&self.linear.shift, start);
            for row in (from..to).step_by(lanes) {
                let mut g: [f32; W] = load(self.grad, row + start);
                if RELU {
                    let y: [f32; W] = load(self.y, row + start);
                    for i in 0..W {
                        g[i] = if y[i] <= 0.0 { 0.0 } else { g[i] };
                    }
                }
                let x: [f32; W] = load(self.x, row + start);
                for i in 0..W {
                    g[i] = scale[i] * g[i] + (slope[i] * (x[i] - mean[i]) + shift[i]);
                }
                store(g, self.out, row + start);
            }
        }
    }
}
