//! Batch norm of few rows with many channels. Each task has some channels and reads all of their
//! rows, first for the sums and again, from the cache, for the rest. Nothing is merged.

use super::affine::Affine;
use super::gradient_sums::GradientSums;
use super::input_gradient::{InputGradient, Linear};
use super::lanes::Window;
use super::masking::Masking;
use super::normalize::Normalize;
use super::statistics::add_window;
use super::sweep::{Operands, Pass};
use super::{Backward, Forward, Moments, Shape, Sums};
use crate::cpu::{dispatch, run_all, Kernel, Number, Parallel, Parts, SharedSlice, Simd, LANES};
use crate::error::Result;
use crate::kernels::cpu::activation::SimdActivation;

/// Vectors of a task's channels.
const VECTORS: usize = 2;
const CHANNELS: usize = VECTORS * LANES;

/// The fewest channels that make enough tasks for several threads.
const LEAST_CHANNELS: usize = 6 * CHANNELS;

/// The most that a task reads of one matrix, so that it stays in the second-level cache.
const MOST_BYTES: usize = 256 * 1024;

/// Rows of a block, whose sums are f32.
const BLOCK_ROWS: usize = 64;

/// Whether the channels of a matrix are divided among the tasks.
pub(super) fn fit<T>(Shape { rows, channels }: Shape) -> bool {
    channels.is_multiple_of(CHANNELS)
        && channels >= LEAST_CHANNELS
        && rows <= MOST_BYTES / (CHANNELS * size_of::<T>())
}

/// The columns of task number `task`.
fn columns(shape: Shape, task: usize) -> Window {
    Window { at: task * CHANNELS, stride: shape.channels, rows: shape.rows }
}

/// A task's channels of a vector.
fn some<T>(vector: &[T], task: usize) -> &[T] {
    &vector[task * CHANNELS..(task + 1) * CHANNELS]
}

/// The slices have been checked, and the shape fits.
pub(super) fn forward<T: Number>(op: Forward<T>, parallel: &dyn Parallel) -> Result<()> {
    let Forward { shape, eps, x, weight, bias, .. } = op;
    let activation = op.activation.simd();
    let inputs = [x, op.residual.unwrap_or(&[]), &[]];
    let outputs = [SharedSlice::new(op.y), SharedSlice::new(&mut [])];
    let means = Parts::new(op.save_mean, CHANNELS);
    let invstds = Parts::new(op.save_invstd, CHANNELS);
    run_all(parallel, shape.channels / CHANNELS, |task| {
        let statistics = [means.take(task), invstds.take(task)];
        // A pool that repeats a task gets empty slices.
        if statistics[0].is_empty() {
            return;
        }
        let operands = Operands { inputs, outputs };
        let window = columns(shape, task);
        let (weight, bias) = (weight.map(|w| some(w, task)), bias.map(|b| some(b, task)));
        dispatch(ForwardTask { operands, window, eps, activation, weight, bias, statistics });
    })
}

struct ForwardTask<'a, T> {
    operands: Operands<'a, T>,
    window: Window,
    eps: f64,
    activation: SimdActivation,
    weight: Option<&'a [f32]>,
    bias: Option<&'a [f32]>,
    statistics: [&'a mut [f32]; 2],
}

impl<T: Number> Kernel for ForwardTask<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let ForwardTask { operands, window, activation, .. } = self;
        let mut moments = Moments::new(CHANNELS);
        for block in window.blocks(BLOCK_ROWS) {
            add_window::<S, T, VECTORS>(simd, &mut moments, operands.inputs[0], block, 0, 0);
            moments.count += block.rows as f64;
        }
        let [mean, invstd] = self.statistics;
        moments.save(self.eps, mean, invstd);
        let affine = &Affine::new(mean, invstd, self.weight, self.bias);
        let mut pass = Normalize { affine, activation };
        debug_assert!(operands.hold::<VECTORS>(window));
        // SAFETY: the columns lie in the matrices, and each task has its own channels.
        unsafe { pass.window::<S, VECTORS>(simd, &operands, window, 0, 0..CHANNELS) };
    }
}

/// The slices have been checked, and the shape fits.
pub(super) fn backward<T: Number>(op: Backward<T>, parallel: &dyn Parallel) -> Result<()> {
    let Backward { shape, grad_y, x, mask, weight, save_mean, save_invstd, .. } = op;
    let masking = mask.masking(op.activation);
    let inputs = [grad_y, x, mask.output()];
    let written = op.grad_residual.map_or(SharedSlice::new(&mut []), SharedSlice::new);
    let grad_x = SharedSlice::new(op.grad_x);
    let weights = Parts::new(op.grad_weight, CHANNELS);
    let biases = Parts::new(op.grad_bias, CHANNELS);
    run_all(parallel, shape.channels / CHANNELS, |task| {
        let gradients = [weights.take(task), biases.take(task)];
        // A pool that repeats a task gets empty slices.
        if gradients[0].is_empty() {
            return;
        }
        let invstd = some(save_invstd, task);
        let (weight, bias) = (weight.map(|w| some(w, task)), mask.bias().map(|b| some(b, task)));
        dispatch(BackwardTask {
            inputs,
            written,
            grad_x,
            window: columns(shape, task),
            masking,
            affine: Affine::new(some(save_mean, task), invstd, weight, bias),
            invstd,
            gradients,
        });
    })
}

struct BackwardTask<'a, T> {
    inputs: [&'a [T]; 3],
    written: SharedSlice<'a, T>,
    grad_x: SharedSlice<'a, T>,
    window: Window,
    masking: Masking,
    affine: Affine,
    invstd: &'a [f32],
    gradients: [&'a mut [f32]; 2],
}

impl<T: Number> Kernel for BackwardTask<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let BackwardTask { inputs, masking, affine, window, invstd, .. } = self;
        let mut sums = Sums { grad: vec![0.0; CHANNELS], product: vec![0.0; CHANNELS] };
        let Sums { grad: sum, product } = &mut sums;
        let mut pass = GradientSums { affine: &affine, masking, sum, product };
        let operands = Operands { inputs, outputs: [self.written, SharedSlice::new(&mut [])] };
        for block in window.blocks(BLOCK_ROWS) {
            debug_assert!(operands.hold::<VECTORS>(block));
            // SAFETY: as in the forward task.
            unsafe { pass.window::<S, VECTORS>(simd, &operands, block, 0, 0..CHANNELS) };
        }
        let [grad_weight, grad_bias] = self.gradients;
        sums.save(invstd, grad_weight, grad_bias);

        let linear = &Linear::new(affine, invstd, window.rows, &sums);
        let mut pass = InputGradient { linear, masking };
        let operands = Operands { inputs, outputs: [self.grad_x, SharedSlice::new(&mut [])] };
        debug_assert!(operands.hold::<VECTORS>(window));
        // SAFETY: as above.
        unsafe { pass.window::<S, VECTORS>(simd, &operands, window, 0, 0..CHANNELS) };
    }
}
