//! Runs epochs on a GPU: steps are launched ahead of time, and the host reads the metrics from time
//! to time.

use std::time::{Duration, Instant};

use super::eval_step::Evaluation;
use super::feed::{Feed, Source};
use super::graph::{Execution, Graphs, Launches};
use super::slot::Slot;
use super::train_step::TrainStep;
use super::update::Update;
use crate::error::{Error, Result};
use crate::kernels::cuda::augment::Cursor;
use crate::kernels::cuda::metrics::Metrics;
use crate::train::bound::Which;
use crate::train::fit::evaluate;
use crate::train::metric::{self, Totals};
use crate::train::{Batches, EngineRunner, LoaderBatches, Observer, State, Stepper};

/// The interval at which metrics are read. It limits how far the device may fall behind the host,
/// and thus the delay of Ctrl-C.
const READ_EVERY: Duration = Duration::from_millis(100);

/// The validation after an epoch.
enum Validation {
    None,
    OnDevice(Box<Evaluation>),
    /// The host makes the batches and computes the metrics.
    OnHost(Box<dyn Batches>),
}

/// The settings of a [`CudaStepper`].
pub struct Options {
    pub clip_grad_norm: Option<f64>,
    /// Whether a loader's data set is copied to the device, instead of streaming batches.
    pub resident: bool,
}

/// Runs the steps of a training on a GPU.
pub struct CudaStepper<'a> {
    runner: &'a mut EngineRunner,
    feed: Feed,
    validation: Validation,
    graphs: Option<&'a mut dyn Graphs>,
    step: TrainStep,
    execution: Execution,
    pace: Pace,
    /// The step up to which the parameters' updates are counted.
    counted: u64,
    totals: Totals,
}

impl<'a> CudaStepper<'a> {
    /// Without `graphs` every step is launched kernel by kernel.
    pub fn new(
        runner: &'a mut EngineRunner,
        state: &State,
        train: Source,
        val: Option<Source>,
        graphs: Option<&'a mut dyn Graphs>,
        options: &Options,
    ) -> Result<CudaStepper<'a>> {
        let target = &runner.target().clone();
        let classifies = Evaluation::supports(runner);
        let program = runner.bound(Which::Step)?.engine.program().clone();
        let slot = Slot::of(&program, target)?;
        let predictions = program.outputs.predictions.filter(|_| classifies);
        let predictions = predictions.map(|value| program.values[value.0].shape.clone());
        let feed = Feed::new(train, &slot, predictions, options.resident, target)?;
        let validation = Validation::new(val, runner, graphs.as_deref(), options)?;
        let update = Update::new(state, feed.num_batches(), options.clip_grad_norm, target)?;
        let step = TrainStep::new(slot, update, runner)?;
        Ok(CudaStepper {
            runner,
            feed,
            validation,
            execution: Execution::new(graphs.as_deref()),
            graphs,
            step,
            pace: Pace::new(),
            counted: state.step,
            totals: Totals::default(),
        })
    }

    /// Waits for the device, and updates `state` and the totals by the steps that it has finished.
    fn read(&mut self, state: &mut State) -> Result<()> {
        let metrics = self.step.metrics.read()?;
        let cursor = self.step.cursor.read()?.first().copied().unwrap_or_default();
        self.pace.read();
        state.step = cursor.step.saturating_sub(1);
        let done = state.step - self.counted;
        self.counted = state.step;
        for (parameter, updated) in state.parameters.iter_mut().zip(&self.step.updated) {
            parameter.updates += if *updated { done } else { 0 };
        }
        self.totals = Totals::of(&metrics);
        match cursor.failed {
            0 => Ok(()),
            step => {
                let loss = metrics.first().map_or(f64::NAN, |metrics| metrics.loss);
                Err(Error::NonFiniteLoss { loss, step, epoch: state.epoch + 1 })
            }
        }
    }
}

impl Validation {
    fn new(
        val: Option<Source>,
        runner: &mut EngineRunner,
        graphs: Option<&dyn Graphs>,
        options: &Options,
    ) -> Result<Validation> {
        let on_device = options.resident && Evaluation::supports(runner);
        Ok(match val {
            None => Validation::None,
            Some(Source::Loader(loader)) if on_device => {
                Validation::OnDevice(Box::new(Evaluation::new(loader, runner, graphs)?))
            }
            Some(Source::Loader(loader)) => {
                Validation::OnHost(Box::new(LoaderBatches::new(loader)))
            }
            Some(Source::Batches(batches)) => Validation::OnHost(batches),
        })
    }
}

impl Stepper for CudaStepper<'_> {
    fn num_steps(&self) -> u64 {
        self.feed.num_batches() as u64
    }

    fn start(&mut self, state: &mut State, factors: Vec<f64>) -> Result<()> {
        // An observer may have changed parameters since the last epoch.
        let slot = &self.step.slot;
        self.runner.bound(Which::Step)?.refresh_shadows(&slot.tensors(), state)?;
        let cursor = Cursor { epoch: state.epoch, batch: 0, step: state.step + 1, failed: 0 };
        self.step.cursor.write(&[cursor])?;
        self.step.metrics.write(&[Metrics::default()])?;
        self.step.update.set_factors(&factors)?;
        self.totals = Totals::default();
        self.pace = Pace::new();
        self.counted = state.step;
        self.feed.start(state.epoch)
    }

    fn step(&mut self, state: &mut State, observer: &mut dyn Observer) -> Result<bool> {
        if !self.feed.prepare(&self.step.slot)? {
            return Ok(false);
        }
        let mut step = OneStep {
            step: &mut self.step,
            feed: &self.feed,
            runner: &mut *self.runner,
            state,
            observer,
        };
        self.execution.run(&mut self.graphs, &mut step)?;
        state.step += 1;
        if self.pace.step() {
            self.read(state)?;
        }
        Ok(true)
    }

    fn so_far(&self) -> &Totals {
        &self.totals
    }

    fn settle(&mut self, state: &mut State) -> Result<()> {
        self.read(state)
    }

    fn validate(
        &mut self,
        state: &mut State,
        observer: &mut dyn Observer,
    ) -> Result<Option<metric::Metrics>> {
        match &mut self.validation {
            Validation::None => Ok(None),
            Validation::OnDevice(evaluation) => {
                evaluation.run(self.runner, state, &mut self.graphs, observer).map(Some)
            }
            Validation::OnHost(batches) => {
                evaluate(state, self.runner, batches.as_mut(), observer).map(Some)
            }
        }
    }
}

struct OneStep<'a> {
    step: &'a mut TrainStep,
    feed: &'a Feed,
    runner: &'a mut EngineRunner,
    state: &'a State,
    observer: &'a mut dyn Observer,
}

impl Launches for OneStep<'_> {
    fn launch(&mut self, capturing: bool) -> Result<()> {
        let poll = &mut || self.observer.poll();
        self.step.launch(self.feed, self.runner, self.state, capturing, poll)
    }

    fn captured(&mut self) -> Result<()> {
        self.step.captured()
    }
}

/// Chooses after how many steps the metrics are read, so that this happens every [`READ_EVERY`].
struct Pace {
    /// The steps since the last read.
    since: usize,
    /// The steps between two reads.
    every: usize,
    last: Instant,
}

impl Pace {
    fn new() -> Pace {
        Pace { since: 0, every: 1, last: Instant::now() }
    }

    /// Counts a step; returns whether it is time to read.
    fn step(&mut self) -> bool {
        self.since += 1;
        self.since >= self.every
    }

    /// Called after a read: adapts the number of steps to the elapsed time.
    fn read(&mut self) {
        let elapsed = self.last.elapsed();
        if elapsed < READ_EVERY / 2 {
            self.every *= 2;
        } else if elapsed > READ_EVERY * 2 {
            self.every = (self.every / 2).max(1);
        }
        (self.since, self.last) = (0, Instant::now());
    }
}
