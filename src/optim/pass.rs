//! One pass over all parameters: clipping, the optimizer's step, averages, and whatever else wants
//! the new values while they are in cache.
//!
//! A step does little with each number, so it is as fast as memory: everything is read and written
//! once. Clipping needs the norm of all gradients beforehand and thus reads those once more.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::optimizer::Optimizer;
use super::pieces::{Extent, Piece, Pieces};
use super::step::Step;
use super::{clip, ema};
use crate::cpu::{run_all, Parallel, SharedSlice};
use crate::error::{Error, Result};

/// The number of elements that are updated and then averaged while they are in the nearest cache.
const BLOCK: usize = 1 << 12;

/// An optimizer has at most this many state buffers.
const MAX_STATES: usize = 2;

/// The shadows of parameters: copies in another form, such as packed weights, which are updated
/// while the new values of their masters are in cache.
pub trait Shadows: Sync {
    /// Takes new values of the rows (slices of dimension 0, adjacent in memory) of a parameter,
    /// starting with the row `first`.
    ///
    /// In a step it is called once for each row of an updated parameter, from several threads at
    /// once. `first` is a multiple of 16, and so is the number of rows except for the last ones.
    /// Parameters are left out if dimension 0 is not the outermost in memory.
    fn update_rows(&self, parameter: usize, first: usize, rows: &[f32]);
}

/// No shadows.
impl Shadows for () {
    fn update_rows(&self, _: usize, _: usize, _: &[f32]) {}
}

/// A parameter and what belongs to it: slices of equal length in one memory order.
pub struct Target<'a> {
    pub param: &'a mut [f32],
    /// A parameter without is left alone.
    pub update: Option<Update<'a>>,
    /// Moves toward the parameter, updated or not.
    pub average: Option<&'a mut [f32]>,
}

pub struct Update<'a> {
    pub optimizer: &'a Optimizer,
    pub lr: f64,
    /// From 1.
    pub number: u64,
    pub grad: &'a [f32],
    /// One for each of the optimizer's `state_names`.
    pub state: Vec<&'a mut [f32]>,
}

/// Targets that fit their cut.
pub struct Pass<'a> {
    pieces: &'a Pieces,
    ema_decay: f64,
    targets: Vec<Checked<'a>>,
}

struct Checked<'a> {
    param: SharedSlice<'a, f32>,
    update: Option<CheckedUpdate<'a>>,
    average: Option<SharedSlice<'a, f32>>,
}

struct CheckedUpdate<'a> {
    optimizer: &'a Optimizer,
    lr: f64,
    number: u64,
    grad: &'a [f32],
    state: Vec<SharedSlice<'a, f32>>,
}

impl<'a> Pass<'a> {
    /// # Errors
    /// `targets` are not those that the pieces were cut for, or a slice does not have the length
    /// of its parameter, or an optimizer does not have its state.
    pub fn new(pieces: &'a Pieces, targets: Vec<Target<'a>>, ema_decay: f64) -> Result<Pass<'a>> {
        let (expected, got) = (pieces.extents().len(), targets.len());
        if got != expected {
            return Err(Error::SliceLength { name: "targets", expected, got });
        }
        let targets = targets.into_iter().zip(pieces.extents());
        let targets =
            targets.map(|(target, extent)| target.check(extent)).collect::<Result<_>>()?;
        Ok(Pass { pieces, ema_decay, targets })
    }

    /// The norm of all gradients together.
    pub fn norm(&self, parallel: &dyn Parallel) -> Result<f64> {
        let sums: Vec<AtomicU64> = (0..self.pieces.tasks()).map(|_| AtomicU64::new(0)).collect();
        run_all(parallel, sums.len(), |task| {
            let sum: f64 = self.pieces.of(task).iter().map(|piece| self.squared_norm(piece)).sum();
            sums[task].store(sum.to_bits(), Ordering::Relaxed);
        })?;
        let sums = sums.into_iter().map(|sum| f64::from_bits(sum.into_inner()));
        Ok(sums.sum::<f64>().sqrt())
    }

    /// Updates all targets, gradients multiplied with `coefficient`.
    pub fn step(
        self,
        coefficient: f32,
        shadows: &dyn Shadows,
        parallel: &dyn Parallel,
    ) -> Result<()> {
        let tasks = self.pieces.tasks();
        let taken: Vec<AtomicBool> = (0..tasks).map(|_| AtomicBool::new(false)).collect();
        run_all(parallel, tasks, |task| {
            if taken[task].swap(true, Ordering::Relaxed) {
                return;
            }
            for piece in self.pieces.of(task) {
                // SAFETY: pieces are disjoint, each is in one task, and the swap lets each task
                // through once; `self` is consumed, so no other call follows.
                unsafe { self.step_piece(piece, coefficient, shadows) };
            }
        })
    }

    fn squared_norm(&self, piece: &Piece) -> f64 {
        let update = self.targets[piece.parameter].update.as_ref();
        update.map_or(0.0, |update| clip::squared_norm(&update.grad[piece.range.clone()]))
    }

    /// # Safety
    /// Each piece once.
    unsafe fn step_piece(&self, piece: &Piece, coefficient: f32, shadows: &dyn Shadows) {
        let Checked { param, update, average } = &self.targets[piece.parameter];
        let end = piece.range.end;
        for from in piece.range.clone().step_by(BLOCK) {
            let range = from..(from + BLOCK).min(end);
            // SAFETY: the blocks of a piece are disjoint, and by the caller's word the pieces.
            let param = unsafe { param.range(range.clone()) };
            if let Some(update) = update {
                // SAFETY: as above.
                unsafe { update.step(range.clone(), coefficient, param) };
            }
            if let Some(average) = average {
                // SAFETY: as above.
                ema::update(self.ema_decay, unsafe { average.range(range) }, param);
            }
        }
        if update.is_some() && self.pieces.extents()[piece.parameter].has_rows {
            // SAFETY: the blocks' borrows are over.
            let rows = unsafe { param.range(piece.range.clone()) };
            shadows.update_rows(piece.parameter, piece.first, rows);
        }
    }
}

impl CheckedUpdate<'_> {
    /// # Safety
    /// No two ranges overlap.
    unsafe fn step(&self, range: std::ops::Range<usize>, coefficient: f32, param: &mut [f32]) {
        let mut state: [&mut [f32]; MAX_STATES] = Default::default();
        for (slice, whole) in state.iter_mut().zip(&self.state) {
            // SAFETY: by the caller's word.
            *slice = unsafe { whole.range(range.clone()) };
        }
        let step = Step { number: self.number, lr: self.lr, coefficient };
        let state = &mut state[..self.state.len()];
        self.optimizer.step_checked(step, param, &self.grad[range], state);
    }
}

impl<'a> Target<'a> {
    fn check(self, extent: &Extent) -> Result<Checked<'a>> {
        let expected = extent.len();
        let check = |name: &'static str, got: usize| match got == expected {
            true => Ok(()),
            false => Err(Error::StateLength { name, expected, got }),
        };
        check("param", self.param.len())?;
        self.average.as_ref().map_or(Ok(()), |average| check("average", average.len()))?;
        Ok(Checked {
            param: SharedSlice::new(self.param),
            update: self.update.map(|update| update.check(expected)).transpose()?,
            average: self.average.map(SharedSlice::new),
        })
    }
}

impl<'a> Update<'a> {
    fn check(self, expected: usize) -> Result<CheckedUpdate<'a>> {
        let Update { optimizer, lr, number, grad, state } = self;
        optimizer.check_lengths(expected, grad, &state)?;
        let state = state.into_iter().map(SharedSlice::new).collect();
        Ok(CheckedUpdate { optimizer, lr, number, grad, state })
    }
}

#[cfg(test)]
mod tests;
