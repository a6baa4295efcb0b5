//! The training loop: epochs of steps, each followed by an evaluation and a checkpoint.

use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::batches::Batches;
use super::checkpoint;
use super::event::{EpochRow, Observer, StepEvent};
use super::metric::{Metrics, Totals};
use super::runner::{Evaluated, Runner};
use super::state::State;
use super::stepper::Stepper;
use crate::error::{Error, Result};
use crate::optim::schedule::Schedule;

/// The least time between two reports of a step.
const REPORT_EVERY: Duration = Duration::from_millis(100);

pub struct FitOptions {
    /// The epoch to stop after, counting the epochs before a resumption.
    pub epochs: u64,
    pub schedule: Schedule,
    /// The epochs that the schedule spans; those after its end keep its last factor.
    pub schedule_epochs: Range<u64>,
    /// The file that is written after each epoch.
    pub checkpoint: Option<PathBuf>,
    /// What the caller wants to find in the checkpoint.
    pub facts: checkpoint::Facts,
}

/// Trains until `options.epochs` epochs are done; each is followed by a validation.
pub fn fit(
    state: &mut State,
    stepper: &mut dyn Stepper,
    options: &FitOptions,
    observer: &mut dyn Observer,
) -> Result<()> {
    let steps_per_epoch = stepper.num_steps();
    let schedule = options.schedule.in_steps(steps_per_epoch);
    let Range { start: begin, end } = options.schedule_epochs;
    let total_steps = steps_per_epoch.saturating_mul(end.saturating_sub(begin));
    schedule.validate(total_steps)?;
    while state.epoch < options.epochs {
        let start = Instant::now();
        observer.on_epoch_start(state.epoch)?;
        // By epochs, so that the curve ends with the training where a resumed one has other batches.
        let first = steps_per_epoch.saturating_mul(state.epoch.saturating_sub(begin));
        let before = state.step;
        let factor = |step: u64| schedule.factor(first + step.saturating_sub(before), total_steps);
        let factors = (state.step..state.step + steps_per_epoch).map(factor).collect();
        stepper.start(state, factors)?;
        let trained = train_epoch(state, stepper, &factor, observer);
        // Settle in any case, so that the state is the one after the steps that were taken.
        let settled = stepper.settle(state);
        let training = trained.and_then(|start| settled.map(|()| start.elapsed()))?;
        let trained = stepper.so_far().clone();
        if trained.images == 0 {
            return Err(Error::NoBatches);
        }
        let validated = stepper.validate(state, observer)?;
        state.epoch += 1;
        let lr = base_lr(state) * factor(state.step.saturating_sub(1));
        let per_second = trained.images as f64 / training.as_secs_f64().max(1e-9);
        let mut row = epoch_row(state, lr, &trained.metrics(), validated, per_second);
        row.seconds = start.elapsed().as_secs_f64();
        state.rows.push(row.clone());
        if let Some(path) = &options.checkpoint {
            checkpoint::save(path, state, &options.facts)?;
        }
        observer.on_epoch(&row)?;
    }
    Ok(())
}

/// The loss and accuracy on a set, with the averaged parameters if there are any.
pub fn evaluate(
    state: &mut State,
    runner: &mut dyn Runner,
    data: &mut dyn Batches,
    observer: &mut dyn Observer,
) -> Result<Metrics> {
    state.with_averages(|state| {
        let mut totals = Totals::leaving_out(runner.left_out()?);
        runner.parameters_changed();
        data.start(0)?;
        while let Some(batch) = data.next_batch()? {
            let Evaluated { loss, weight, predictions } =
                runner.evaluate(&batch, state, &mut || observer.poll())?;
            totals.add(loss, weight, predictions.as_ref(), &batch)?;
            observer.poll()?;
        }
        Ok(totals.metrics())
    })
}

/// Runs the steps of an epoch; returns when it began.
fn train_epoch(
    state: &mut State,
    stepper: &mut dyn Stepper,
    factor: &dyn Fn(u64) -> f64,
    observer: &mut dyn Observer,
) -> Result<Instant> {
    let start = Instant::now();
    let mut reported: Option<Instant> = None;
    while stepper.step(state, observer)? {
        observer.poll()?;
        let due = reported.is_none_or(|last| last.elapsed() >= REPORT_EVERY);
        if due && stepper.so_far().images > 0 {
            reported = Some(Instant::now());
            let lr = base_lr(state) * factor(state.step.saturating_sub(1));
            observer.on_step(&step_event(state, lr, stepper.so_far(), start))?;
        }
    }
    Ok(start)
}

/// The learning rate of the first parameter before the schedule, which is reported as the rate.
fn base_lr(state: &State) -> f64 {
    state.parameters.first().map_or(0.0, |parameter| parameter.optimizer.lr())
}

fn step_event(state: &State, lr: f64, totals: &Totals, start: Instant) -> StepEvent {
    let Metrics { loss, top1, .. } = totals.metrics();
    let images_per_s = totals.images as f64 / start.elapsed().as_secs_f64().max(1e-9);
    StepEvent { epoch: state.epoch + 1, step: state.step, lr, loss, top1, images_per_s }
}

fn epoch_row(
    state: &State,
    lr: f64,
    train: &Metrics,
    val: Option<Metrics>,
    images_per_s: f64,
) -> EpochRow {
    EpochRow {
        epoch: state.epoch,
        step: state.step,
        lr,
        train_loss: train.loss,
        train_top1: train.top1,
        train_top5: train.top5,
        val_loss: val.as_ref().map(|val| val.loss),
        val_top1: val.as_ref().and_then(|val| val.top1),
        val_top5: val.as_ref().and_then(|val| val.top5),
        seconds: 0.0,
        images_per_s,
    }
}
