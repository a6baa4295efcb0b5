//! Runs the steps of a training, one after another or ahead of time on a device.

use super::event::Observer;
use super::metric::{Metrics, Totals};
use super::state::State;
use crate::error::Result;

pub trait Stepper {
    /// The number of steps of an epoch.
    fn num_steps(&self) -> u64;

    /// Starts the state's epoch. `factors` are the schedule's factors, one for each step.
    fn start(&mut self, state: &mut State, factors: Vec<f64>) -> Result<()>;

    /// Runs or enqueues a step; returns `false` if the epoch is over.
    fn step(&mut self, state: &mut State, observer: &mut dyn Observer) -> Result<bool>;

    /// The totals of the steps of this epoch that are known to be complete, without waiting.
    fn so_far(&self) -> &Totals;

    /// Waits for all steps. Afterwards the state and the totals include them.
    fn settle(&mut self, state: &mut State) -> Result<()>;

    /// Evaluates the validation set, if there is one, with the averaged parameters if there are
    /// any.
    fn validate(
        &mut self,
        state: &mut State,
        observer: &mut dyn Observer,
    ) -> Result<Option<Metrics>>;
}
