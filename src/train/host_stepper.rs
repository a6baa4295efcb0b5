//! Runs steps one after another: batch, program, update.

use tch::Tensor;

use super::batches::Batches;
use super::cuda::SingleUpdate;
use super::event::Observer;
use super::fit::evaluate;
use super::loss::check_finite;
use super::metric::{Metrics, Totals};
use super::runner::Runner;
use super::state::State;
use super::stepper::Stepper;
use super::update::update;
use crate::error::{Error, Result};

/// Where the optimizer runs, which is where the parameters are.
pub enum Updates {
    Host { clip_grad_norm: Option<f64> },
    Device(Box<SingleUpdate>),
}

pub struct HostStepper<'a> {
    runner: &'a mut dyn Runner,
    train: Box<dyn Batches>,
    val: Option<Box<dyn Batches>>,
    updates: Updates,
    /// The factors of the remaining steps, the last one first.
    factors: Vec<f64>,
    totals: Totals,
}

impl<'a> HostStepper<'a> {
    /// `val` is evaluated after each epoch.
    pub fn new(
        runner: &'a mut dyn Runner,
        train: Box<dyn Batches>,
        val: Option<Box<dyn Batches>>,
        updates: Updates,
    ) -> HostStepper<'a> {
        let (factors, totals) = (Vec::new(), Totals::default());
        HostStepper { runner, train, val, updates, factors, totals }
    }

    /// Runs one update and keeps the shadows of the runner up to date.
    fn update(
        &mut self,
        state: &mut State,
        gradients: &[Option<Tensor>],
        factor: f64,
    ) -> Result<()> {
        match (&self.updates, self.runner.shadows()) {
            (Updates::Host { clip_grad_norm }, Some(shadows)) => {
                return update(state, gradients, factor, *clip_grad_norm, &*shadows);
            }
            (Updates::Host { clip_grad_norm }, None) => {
                update(state, gradients, factor, *clip_grad_norm, &())?;
            }
            (Updates::Device(device), _) => device.run(state, gradients, factor)?,
        }
        self.runner.parameters_changed();
        Ok(())
    }
}

impl Stepper for HostStepper<'_> {
    fn num_steps(&self) -> u64 {
        self.train.num_batches() as u64
    }

    fn start(&mut self, state: &mut State, mut factors: Vec<f64>) -> Result<()> {
        factors.reverse();
        (self.factors, self.totals) = (factors, Totals::leaving_out(self.runner.left_out()?));
        self.runner.parameters_changed();
        self.train.start(state.epoch)
    }

    fn step(&mut self, state: &mut State, observer: &mut dyn Observer) -> Result<bool> {
        let Some(batch) = self.train.next_batch()? else { return Ok(false) };
        let results = self.runner.step(&batch, state, &mut || observer.poll())?;
        let step = state.step + 1;
        if !results.loss.is_finite() {
            check_finite(&batch.labels, &self.runner.left_out()?)?;
            return Err(Error::NonFiniteLoss { loss: results.loss, step, epoch: state.epoch + 1 });
        }
        // If the source has more batches than announced, the last rate is kept.
        let factor = match self.factors.as_slice() {
            [last] => *last,
            _ => self.factors.pop().unwrap_or(1.0),
        };
        self.update(state, &results.gradients, factor)?;
        state.step = step;
        let weight = batch.len() as f64;
        self.totals.add(results.loss, weight, results.predictions.as_ref(), &batch)?;
        Ok(true)
    }

    fn so_far(&self) -> &Totals {
        &self.totals
    }

    fn settle(&mut self, _state: &mut State) -> Result<()> {
        Ok(())
    }

    fn validate(
        &mut self,
        state: &mut State,
        observer: &mut dyn Observer,
    ) -> Result<Option<Metrics>> {
        let Some(val) = &mut self.val else { return Ok(None) };
        evaluate(state, self.runner, val.as_mut(), observer).map(Some)
    }
}
