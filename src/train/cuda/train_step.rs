//! Launches one step of a training, from the batch to the optimizer.

use tch::{Device, Kind, Tensor};

use super::feed::Feed;
use super::slot::Slot;
use super::tables::{device, Table};
use super::update::{in_layout_of, Addresses, Update};
use crate::engine::cuda::{address, number};
use crate::engine::{Poll, Results};
use crate::error::{Error, Result};
use crate::kernels::cuda::augment::{advance, Cursor};
use crate::kernels::cuda::metrics::{AddMetrics, Metrics, Ranks};
use crate::train::bound::Which;
use crate::train::metric::{counted, is_classification};
use crate::train::{EngineRunner, Runner, State};

/// The device memory of a step other than the training state.
pub struct TrainStep {
    pub slot: Slot,
    pub cursor: Table<Cursor>,
    pub metrics: Table<Metrics>,
    pub update: Update,
    ranks: Table<f32>,
    /// The labels that the loss leaves out.
    left_out: Vec<i64>,
    /// Whether a step updates each parameter.
    pub updated: Vec<bool>,
    /// The addresses of the last step that was launched.
    addresses: Option<Addresses>,
}

impl TrainStep {
    pub fn new(slot: Slot, update: Update, runner: &EngineRunner) -> Result<TrainStep> {
        let target = runner.target();
        Ok(TrainStep {
            cursor: Table::new(1, target)?,
            metrics: Table::new(1, target)?,
            ranks: Table::new(slot.batch(), target)?,
            left_out: runner.left_out()?,
            slot,
            update,
            updated: Vec::new(),
            addresses: None,
        })
    }

    /// Launches a step. During a capture it does not run, so that the tables that it reads may be
    /// written afterwards.
    pub fn launch(
        &mut self,
        feed: &Feed,
        runner: &mut EngineRunner,
        state: &State,
        capturing: bool,
        poll: &mut Poll<'_>,
    ) -> Result<()> {
        let target = runner.target().clone();
        let device = device(&target)?;
        let cursor = self.cursor.address();
        feed.launch(&self.slot, cursor, &target)?;
        let mut bound = runner.bound(Which::Step)?;
        let results = bound.run(&self.slot.tensors(), state, poll)?;
        self.add_metrics(&results, feed.total(), device.as_ref())?;
        let engine = &*bound.engine;
        let outputs = &engine.program().outputs;
        let mut gradients: Vec<Option<Tensor>> = state.parameters.iter().map(|_| None).collect();
        for ((name, _), gradient) in outputs.gradients.iter().zip(results.gradients) {
            if let Some(index) = state.parameter_index(name) {
                let parameter = &state.parameters[index].tensor;
                gradients[index] = Some(in_layout_of(parameter, gradient)?);
            }
        }
        let buffers = outputs.buffers.iter().zip(&results.buffers);
        let buffers: Vec<(&Tensor, &Tensor)> =
            buffers.filter_map(|((name, _), new)| Some((new, state.tensor(name)?))).collect();
        let addresses = self.update.addresses(state, Some(engine), &gradients, &buffers)?;
        // In tests the host replaces the GPU, and runs launches even during a capture.
        if !capturing || target.device == Device::Cpu {
            self.update.write(&addresses)?;
        }
        self.update.launch(&addresses, cursor)?;
        self.updated = gradients.iter().map(Option::is_some).collect();
        self.addresses = Some(addresses);
        // SAFETY: the cursor belongs to this step.
        unsafe { advance(device.as_ref(), cursor) }
    }

    /// Writes the tables that a captured step reads.
    pub fn captured(&mut self) -> Result<()> {
        self.addresses.as_ref().map_or(Ok(()), |addresses| self.update.write(addresses))
    }

    fn add_metrics(
        &self,
        results: &Results,
        total: usize,
        device: &dyn crate::kernels::cuda::Device,
    ) -> Result<()> {
        let Some(loss) = &results.loss else {
            return Err(Error::Capture("the program has no loss".into()));
        };
        let loss = loss.f_to_kind(Kind::Float)?.f_contiguous()?;
        let predictions = results.predictions.as_ref().map(Tensor::f_contiguous).transpose()?;
        let classified = match (&predictions, self.slot.labels.as_slice()) {
            (Some(scores), [labels]) if is_classification(scores, labels)? => {
                Some((scores, counted(labels, &self.left_out)?))
            }
            _ => None,
        };
        let ranks = classified.as_ref().map(|(scores, labels)| {
            Ok::<_, Error>(Ranks {
                classes: scores.size()[1] as usize,
                number: number(scores)?,
                predictions: address(scores)?,
                labels: address(labels)?,
                ranks: self.ranks.address(),
            })
        });
        let add = AddMetrics {
            batch: self.slot.batch(),
            total,
            stops: true,
            loss: address(&loss)?,
            ranks: ranks.transpose()?,
            cursor: self.cursor.address(),
            metrics: self.metrics.address(),
        };
        // SAFETY: the tensors have a row for each image of the batch; torch reuses their memory only
        // for later work on the same stream.
        unsafe { add.launch(device) }
    }
}
