//! Computes the loss and the accuracies on a data set in device memory.

use tch::{Kind, Tensor};

use super::feed::{Feed, Source};
use super::graph::{Execution, Graphs, Launches};
use super::slot::Slot;
use super::tables::{device, Table};
use crate::data::Loader;
use crate::engine::cuda::{address, number};
use crate::error::{Error, Result};
use crate::kernels::cuda::augment::{advance, Cursor};
use crate::kernels::cuda::cross_entropy::CrossEntropy;
use crate::kernels::cuda::metrics::{AddMetrics, Metrics, Ranks};
use crate::train::bound::Which;
use crate::train::loss::Loss;
use crate::train::metric::{self, Totals};
use crate::train::{EngineRunner, Observer, State};

/// The number of batches after which the host waits for the device, so that it does not run ahead
/// without limit.
const READ_EVERY: usize = 64;

/// The device memory of an evaluation, and the execution of its batches.
pub struct Evaluation {
    feed: Feed,
    slot: Slot,
    cursor: Table<Cursor>,
    metrics: Table<Metrics>,
    losses: Table<f32>,
    loss: Table<f32>,
    ranks: Table<f32>,
    label_smoothing: f32,
    execution: Execution,
}

impl Evaluation {
    /// Whether the device can evaluate predictions: a custom loss runs on the host.
    pub fn supports(runner: &EngineRunner) -> bool {
        matches!(runner.loss_function(), Loss::CrossEntropy { .. })
    }

    /// Copies the data to the device. Without `graphs`, kernels are launched one by one.
    pub fn new(
        loader: Loader,
        runner: &mut EngineRunner,
        graphs: Option<&dyn Graphs>,
    ) -> Result<Evaluation> {
        let Loss::CrossEntropy { label_smoothing } = *runner.loss_function() else {
            return Err(Error::Cuda("a custom loss cannot be evaluated on the GPU".into()));
        };
        let target = &runner.target().clone();
        let slot = Slot::of(runner.bound(Which::Inference)?.engine.program(), target)?;
        let feed = Feed::new(Source::Loader(loader), &slot, None, true, target)?;
        let batch = slot.batch();
        Ok(Evaluation {
            feed,
            cursor: Table::new(1, target)?,
            metrics: Table::new(1, target)?,
            losses: Table::new(batch, target)?,
            loss: Table::new(1, target)?,
            ranks: Table::new(batch, target)?,
            slot,
            label_smoothing: label_smoothing as f32,
            execution: Execution::new(graphs),
        })
    }

    /// Evaluates the whole data set, with the averaged parameters if there are any.
    pub fn run(
        &mut self,
        runner: &mut EngineRunner,
        state: &mut State,
        graphs: &mut Option<&mut dyn Graphs>,
        observer: &mut dyn Observer,
    ) -> Result<metric::Metrics> {
        state.with_averages(|state| {
            self.cursor.write(&[Cursor { step: 1, ..Cursor::default() }])?;
            self.metrics.write(&[Metrics::default()])?;
            self.feed.start(0)?;
            runner.bound(Which::Inference)?.refresh_shadows(&[&self.slot.images], state)?;
            let mut execution = std::mem::replace(&mut self.execution, Execution::new(None));
            let result = self.batches(runner, state, graphs, &mut execution, observer);
            self.execution = execution;
            result?;
            Ok(Totals::of(&self.metrics.read()?).metrics())
        })
    }

    fn batches(
        &mut self,
        runner: &mut EngineRunner,
        state: &State,
        graphs: &mut Option<&mut dyn Graphs>,
        execution: &mut Execution,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let mut since_read = 0;
        while self.feed.prepare(&self.slot)? {
            let mut batch = OneBatch {
                evaluation: self,
                runner: &mut *runner,
                state,
                observer: &mut *observer,
            };
            execution.run(graphs, &mut batch)?;
            since_read += 1;
            if since_read == READ_EVERY {
                since_read = 0;
                self.cursor.read()?;
            }
            observer.poll()?;
        }
        Ok(())
    }

    fn launch(
        &self,
        runner: &mut EngineRunner,
        state: &State,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let target = runner.target().clone();
        let device = device(&target)?;
        self.feed.launch(&self.slot, self.cursor.address(), &target)?;
        let mut bound = runner.bound(Which::Inference)?;
        let results = bound.run(&[&self.slot.images], state, &mut || observer.poll())?;
        let missing = || Error::Capture("the program has no predictions".into());
        let scores = results.predictions.ok_or_else(missing)?;
        let scores = scores.f_to_kind(Kind::Float)?.f_contiguous()?;
        let &[_, classes] = scores.size().as_slice() else {
            return Err(Error::Capture("cross-entropy needs predictions (N, classes)".into()));
        };
        if let Some(label) = self.feed.largest_label().filter(|label| *label >= classes) {
            return Err(Error::LabelOutputs { label, outputs: classes as usize });
        }
        // The kernel always writes the gradient, which is not used here.
        let grad: Tensor = scores.f_empty_like()?;
        let entropy = CrossEntropy {
            batch: self.slot.batch(),
            classes: classes as usize,
            label_smoothing: self.label_smoothing,
            number: number(&scores)?,
            logits: address(&scores)?,
            labels: address(&self.slot.labels[0])?,
            losses: self.losses.address(),
            loss: self.loss.address(),
            grad: address(&grad)?,
        };
        let add = AddMetrics {
            batch: self.slot.batch(),
            total: self.feed.total(),
            stops: false,
            loss: self.loss.address(),
            ranks: Some(Ranks {
                classes: classes as usize,
                number: number(&scores)?,
                predictions: address(&scores)?,
                labels: address(&self.slot.labels[0])?,
                ranks: self.ranks.address(),
            }),
            cursor: self.cursor.address(),
            metrics: self.metrics.address(),
        };
        // SAFETY: the tensors have a row for each image of the batch; torch reuses their memory only
        // for later work on the same stream.
        unsafe {
            entropy.launch(device.as_ref())?;
            add.launch(device.as_ref())?;
            advance(device.as_ref(), self.cursor.address())
        }
    }
}

struct OneBatch<'a> {
    evaluation: &'a Evaluation,
    runner: &'a mut EngineRunner,
    state: &'a State,
    observer: &'a mut dyn Observer,
}

impl Launches for OneBatch<'_> {
    fn launch(&mut self, _capturing: bool) -> Result<()> {
        self.evaluation.launch(self.runner, self.state, self.observer)
    }

    fn captured(&mut self) -> Result<()> {
        Ok(())
    }
}
