//! The loop: epochs of steps, an evaluation and a checkpoint after each.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::batches::{Batch, Batches};
use super::checkpoint;
use super::event::{EpochRow, Observer, StepEvent};
use super::metric::{Metrics, Totals};
use super::runner::Runner;
use super::state::State;
use super::update::update;
use crate::error::{Error, Result};
use crate::optim::schedule::Schedule;

/// How often the observer hears of a step.
const REPORT_EVERY: Duration = Duration::from_millis(100);

pub struct FitOptions {
    /// The epoch to stop after, those of a resumed training counted in.
    pub epochs: u64,
    pub schedule: Schedule,
    pub clip_grad_norm: Option<f64>,
    pub seed: u64,
    /// Written after every epoch.
    pub checkpoint: Option<PathBuf>,
}

/// Trains until `options.epochs` epochs are done. `val` is evaluated after each, with the averaged
/// parameters where there are any.
pub fn fit(
    state: &mut State,
    runner: &mut dyn Runner,
    train: &mut dyn Batches,
    mut val: Option<&mut dyn Batches>,
    options: &FitOptions,
    observer: &mut dyn Observer,
) -> Result<()> {
    let steps_per_epoch = train.num_batches() as u64;
    let schedule = options.schedule.in_steps(steps_per_epoch);
    let total_steps = steps_per_epoch * options.epochs;
    schedule.validate(total_steps)?;
    while state.epoch < options.epochs {
        let start = Instant::now();
        let factor = |step: u64| schedule.factor(step, total_steps);
        seed_torch(options.seed, state.epoch);
        let (trained, training) = train_epoch(state, runner, train, &factor, options, observer)?;
        let validated = match &mut val {
            Some(val) => Some(evaluate(state, runner, *val, observer)?),
            None => None,
        };
        state.epoch += 1;
        let lr = base_lr(state) * factor(state.step.saturating_sub(1));
        let per_second = trained.images as f64 / training.as_secs_f64().max(1e-9);
        let mut row = epoch_row(state, lr, &trained.metrics(), validated, per_second);
        row.seconds = start.elapsed().as_secs_f64();
        state.rows.push(row.clone());
        if let Some(path) = &options.checkpoint {
            checkpoint::save(path, state)?;
        }
        observer.on_epoch(&row)?;
    }
    Ok(())
}

/// The loss and accuracy on a set, with the averaged parameters where there are any.
pub fn evaluate(
    state: &mut State,
    runner: &mut dyn Runner,
    data: &mut dyn Batches,
    observer: &mut dyn Observer,
) -> Result<Metrics> {
    state.with_averages(|state| {
        let mut totals = Totals::default();
        runner.parameters_changed();
        data.start(0)?;
        while let Some(Batch { images, labels }) = data.next_batch()? {
            let predictions = runner.predict(&images, state, &mut || observer.poll())?;
            let loss = runner.loss(&predictions, &labels)?;
            totals.add(loss, Some(&predictions), &labels)?;
            observer.poll()?;
        }
        Ok(totals.metrics())
    })
}

/// One seed fixes what torch draws (dropout), whatever epoch a training is resumed from.
fn seed_torch(seed: u64, epoch: u64) {
    let mixed = seed.wrapping_add((epoch + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    tch::manual_seed(mixed as i64);
}

fn train_epoch(
    state: &mut State,
    runner: &mut dyn Runner,
    train: &mut dyn Batches,
    factor: &dyn Fn(u64) -> f64,
    options: &FitOptions,
    observer: &mut dyn Observer,
) -> Result<(Totals, Duration)> {
    let mut totals = Totals::default();
    let start = Instant::now();
    let mut reported: Option<Instant> = None;
    runner.parameters_changed();
    train.start(state.epoch)?;
    while let Some(batch) = train.next_batch()? {
        let results = runner.step(&batch, state, &mut || observer.poll())?;
        let step = state.step + 1;
        if !results.loss.is_finite() {
            return Err(Error::NonFiniteLoss { loss: results.loss, step, epoch: state.epoch + 1 });
        }
        let factor = factor(state.step);
        update(state, &results.gradients, factor, options.clip_grad_norm, runner.shadows())?;
        state.step = step;
        totals.add(results.loss, results.predictions.as_ref(), &batch.labels)?;
        observer.poll()?;
        if reported.is_none_or(|last| last.elapsed() >= REPORT_EVERY) {
            reported = Some(Instant::now());
            observer.on_step(&step_event(state, base_lr(state) * factor, &totals, start))?;
        }
    }
    match totals.images {
        0 => Err(Error::NoBatches),
        _ => Ok((totals, start.elapsed())),
    }
}

/// The rate of the first parameter, before the schedule: what a person takes for "the" rate.
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
