//! Who takes the steps of a training: one after the other here, or ahead of time on a device.

use super::event::Observer;
use super::metric::{Metrics, Totals};
use super::state::State;
use crate::error::Result;

pub trait Stepper {
    /// Of an epoch.
    fn num_steps(&self) -> u64;

    /// Goes to the start of the state's epoch. `factors` are the schedule's, one for each step.
    fn start(&mut self, state: &mut State, factors: Vec<f64>) -> Result<()>;

    /// Takes a step, or has it taken later; `false` where the epoch is over.
    fn step(&mut self, state: &mut State, observer: &mut dyn Observer) -> Result<bool>;

    /// What is known of this epoch's steps, without waiting for any.
    fn so_far(&self) -> &Totals;

    /// Waits for all steps: the state and the totals are those behind them.
    fn settle(&mut self, state: &mut State) -> Result<()>;

    /// The validation set, if there is one, with the averaged parameters if there are any.
    fn validate(
        &mut self,
        state: &mut State,
        observer: &mut dyn Observer,
    ) -> Result<Option<Metrics>>;
}
