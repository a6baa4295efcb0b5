//! One step of a training, from the batch to the optimizer, launch by launch.

use tch::{Device, Kind, Tensor};

use super::feed::Feed;
use super::slot::Slot;
use super::tables::{device, Table};
use super::update::{laid_out_as, Places, Update};
use crate::engine::cuda::{address, number};
use crate::engine::{Poll, Results};
use crate::error::{Error, Result};
use crate::kernels::cuda::augment::{advance, Cursor};
use crate::kernels::cuda::metrics::{AddMetrics, Metrics, Ranks};
use crate::train::bound::Which;
use crate::train::metric::is_classification;
use crate::train::{EngineRunner, State};

/// What a step has on the device besides the state.
pub struct TrainStep {
    pub slot: Slot,
    pub cursor: Table<Cursor>,
    pub metrics: Table<Metrics>,
    pub update: Update,
    ranks: Table<f32>,
    /// For each parameter whether a step updates it.
    pub updated: Vec<bool>,
    /// Of the last step that was launched.
    places: Option<Places>,
}

impl TrainStep {
    pub fn new(slot: Slot, update: Update, runner: &EngineRunner) -> Result<TrainStep> {
        let target = runner.target();
        Ok(TrainStep {
            cursor: Table::new(1, target)?,
            metrics: Table::new(1, target)?,
            ranks: Table::new(slot.batch(), target)?,
            slot,
            update,
            updated: Vec::new(),
            places: None,
        })
    }

    /// Launches a step. One that is being captured is not run, so what it reads of the host may be
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
        let results = bound.run(&[&self.slot.images, &self.slot.labels], state, poll)?;
        self.add_metrics(&results, feed.total(), device.as_ref())?;
        let engine = &*bound.engine;
        let outputs = &engine.program().outputs;
        let mut gradients: Vec<Option<Tensor>> = state.parameters.iter().map(|_| None).collect();
        for ((name, _), gradient) in outputs.gradients.iter().zip(results.gradients) {
            if let Some(index) = state.parameter_index(name) {
                let parameter = &state.parameters[index].tensor;
                gradients[index] = Some(laid_out_as(parameter, gradient)?);
            }
        }
        let buffers = outputs.buffers.iter().zip(&results.buffers);
        let buffers: Vec<(&Tensor, &Tensor)> =
            buffers.filter_map(|((name, _), new)| Some((new, state.tensor(name)?))).collect();
        let places = self.update.places(state, Some(engine), &gradients, &buffers)?;
        // Where the host stands for the GPU, what is captured runs all the same.
        if !capturing || target.device == Device::Cpu {
            self.update.write(&places)?;
        }
        self.update.launch(&places, cursor)?;
        self.updated = gradients.iter().map(Option::is_some).collect();
        self.places = Some(places);
        // SAFETY: the cursor is the step's.
        unsafe { advance(device.as_ref(), cursor) }
    }

    /// Writes what a captured step reads.
    pub fn captured(&mut self) -> Result<()> {
        self.places.as_ref().map_or(Ok(()), |places| self.update.write(places))
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
        let labels = &self.slot.labels;
        let predictions = results.predictions.as_ref().map(Tensor::f_contiguous).transpose()?;
        let predictions = match predictions {
            Some(scores) if is_classification(&scores, labels)? => Some(scores),
            _ => None,
        };
        let ranks = predictions.as_ref().map(|scores| {
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
        // SAFETY: the tensors have a batch of rows; torch keeps their memory for what runs behind.
        unsafe { add.launch(device) }
    }
}
