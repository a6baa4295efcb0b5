//! Runs training steps and predictions as captured programs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use tch::{Kind, Tensor};

use super::batches::Batch;
use super::bound::{Bound, Which};
use super::loss::{check_labels, Loss};
use super::runner::{Evaluated, Runner, StepResults};
use super::shadows::ShadowTable;
use super::state::State;
use crate::engine::memory::to_channels_last;
use crate::engine::{Engine, Poll, Target};
use crate::error::{Error, Result};
use crate::optim::Shadows;
use crate::program::{Report, ValueId};

/// Runs a captured training step and a captured inference.
pub struct EngineRunner {
    step: Option<Engine>,
    inference: Option<Engine>,
    /// Constants that the traces lifted out of the model.
    constants: Vec<(String, Tensor)>,
    loss: Loss,
    /// The labels that the loss leaves out.
    left_out: Vec<i64>,
    /// Runs batches that the programs cannot: those of other shapes than the captured ones, and all
    /// once the programs are outdated.
    other: Option<Box<dyn Runner + Send>>,
    /// Whether the model has changed in a way that the programs do not follow.
    outdated: Arc<AtomicBool>,
    /// Where the step keeps shadows of parameters, found when it first runs.
    shadows: Option<ShadowTable>,
    target: Target,
}

impl EngineRunner {
    pub fn new(
        step: Option<Engine>,
        inference: Option<Engine>,
        constants: Vec<(String, Tensor)>,
        loss: Loss,
        target: Target,
    ) -> Result<EngineRunner> {
        let moved = |(name, tensor): (String, Tensor)| -> Result<(String, Tensor)> {
            Ok((name, tensor.f_to_device(target.device)?))
        };
        let constants = constants.into_iter().map(moved).collect::<Result<_>>()?;
        Ok(EngineRunner {
            step,
            inference,
            constants,
            loss,
            left_out: Vec::new(),
            other: None,
            outdated: Arc::default(),
            shadows: None,
            target,
        })
    }

    /// Sets the labels that the loss leaves out.
    pub fn with_left_out(self, left_out: Vec<i64>) -> EngineRunner {
        EngineRunner { left_out, ..self }
    }

    /// Sets what runs the batches that the programs cannot.
    pub fn with_other(self, other: Box<dyn Runner + Send>) -> EngineRunner {
        EngineRunner { other: Some(other), ..self }
    }

    /// Can be set at any time: from the next batch on, the programs do not run any more.
    pub fn outdated(&self) -> Arc<AtomicBool> {
        self.outdated.clone()
    }

    /// The device of both programs.
    pub fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn loss_function(&self) -> &Loss {
        &self.loss
    }

    /// The program of the training step or of the inference, with its constants.
    pub(super) fn bound(&mut self, which: Which) -> Result<Bound<'_>> {
        let (engine, what) = match which {
            Which::Step => (&mut self.step, "training step"),
            Which::Inference => (&mut self.inference, "inference"),
        };
        let missing = || Error::Capture(format!("no {what} was captured"));
        Ok(Bound { engine: engine.as_mut().ok_or_else(missing)?, constants: &self.constants })
    }

    /// Whether the captured inference takes the images: of its size, or of any number if all of its
    /// outputs have a row for each image.
    fn takes(&mut self, images: &Tensor) -> Result<bool> {
        if self.outdated.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let bound = self.bound(Which::Inference)?;
        let program = bound.engine.program();
        let size = bound.batch()?.0;
        let by_image = |value: ValueId| program.values[value.0].shape.first() == Some(&size);
        let (images, mut expected) = (images.size(), bound.images_shape());
        if !images.is_empty() && program.outputs.values().all(by_image) {
            expected[0] = images[0];
        }
        Ok(images == expected)
    }

    /// The predictions, and after them all outputs, if the loss reads others than the predictions.
    fn outputs(
        &mut self,
        images: &Tensor,
        state: &State,
        poll: &mut Poll<'_>,
    ) -> Result<Vec<Tensor>> {
        let device = self.target.device;
        let mut bound = self.bound(Which::Inference)?;
        let (size, kind) = bound.batch()?;
        let mut images = images.f_to_device(device)?;
        if (kind, images.f_kind()?) == (Kind::BFloat16, Kind::Float) {
            images = images.f_to_kind(kind)?;
        }
        let images = to_channels_last(&images)?;
        let count = images.size().first().copied().unwrap_or(0);
        if count == 0 {
            let (expected, got) = (bound.images_shape(), images.size());
            return Err(Error::InputShape { name: "images".into(), expected, got });
        }
        if count == size {
            return bound.run(&[&images], state, poll)?.on_host();
        }
        // A graph has a fixed batch size: larger batches are split, smaller ones are padded.
        let pieces = (0..count).step_by(size as usize).map(|start| {
            let piece = images.f_narrow(0, start, size.min(count - start))?;
            let outputs = bound.run(&[&filled_up(&piece, size)?], state, poll)?.on_host()?;
            let real = |output: Tensor| Ok(output.f_narrow(0, 0, size.min(count - start))?);
            outputs.into_iter().map(real).collect::<Result<Vec<_>>>()
        });
        let pieces = pieces.collect::<Result<Vec<_>>>()?;
        let joined = |index: usize| {
            let parts: Vec<&Tensor> = pieces.iter().map(|piece| &piece[index]).collect();
            Ok(Tensor::f_cat(&parts, 0)?)
        };
        (0..pieces.first().map_or(0, Vec::len)).map(joined).collect()
    }

    /// A report of the training step.
    pub fn step_report(&self) -> Option<Report> {
        self.step.as_ref().map(Engine::report)
    }

    /// A report of the inference.
    pub fn inference_report(&self) -> Option<Report> {
        self.inference.as_ref().map(Engine::report)
    }
}

impl Runner for EngineRunner {
    fn step(&mut self, batch: &Batch, state: &State, poll: &mut Poll<'_>) -> Result<StepResults> {
        let outdated = self.outdated.load(Ordering::Relaxed);
        if outdated || !self.bound(Which::Step)?.fits(&tensors(batch)) {
            if let Some(other) = &mut self.other {
                return other.step(batch, state, poll);
            }
        }
        let judged = matches!(self.loss, Loss::CrossEntropy { .. });
        let shadows = self.shadows.take();
        let mut bound = self.bound(Which::Step)?;
        let program = bound.engine.program();
        if let Some(value) = program.outputs.predictions.filter(|_| judged) {
            let shape = &program.values[value.0].shape;
            batch.labels.iter().try_for_each(|labels| check_labels(labels, shape))?;
        }
        let shadows = shadows.unwrap_or_else(|| ShadowTable::new(bound.engine, state));
        let results = bound.run(&tensors(batch), state, poll)?;
        let engine = bound.engine;
        let loss = match &results.loss {
            Some(loss) => loss.f_double_value(&[])?,
            None => return Err(Error::Capture("the program has no loss".into())),
        };
        let outputs = &engine.program().outputs;
        // After a loss that is not finite the state must not change: a checkpoint stays usable.
        if loss.is_finite() {
            for ((name, _), new) in outputs.buffers.iter().zip(&results.buffers) {
                if let Some(buffer) = state.tensor(name) {
                    buffer.shallow_clone().f_copy_(new)?;
                }
            }
        }
        let mut gradients: Vec<Option<Tensor>> = state.parameters.iter().map(|_| None).collect();
        for ((name, _), gradient) in outputs.gradients.iter().zip(results.gradients) {
            if let Some(index) = state.parameter_index(name) {
                gradients[index] = Some(gradient);
            }
        }
        self.shadows = Some(shadows);
        Ok(StepResults { loss, predictions: results.predictions, gradients })
    }

    fn predict(&mut self, images: &Tensor, state: &State, poll: &mut Poll<'_>) -> Result<Tensor> {
        if !self.takes(images)? {
            if let Some(other) = &mut self.other {
                return other.predict(images, state, poll);
            }
        }
        let mut outputs = self.outputs(images, state, poll)?;
        Ok(outputs.swap_remove(0))
    }

    fn evaluate(&mut self, batch: &Batch, state: &State, poll: &mut Poll<'_>) -> Result<Evaluated> {
        if !self.takes(&batch.images)? {
            if let Some(other) = &mut self.other {
                return other.evaluate(batch, state, poll);
            }
        }
        let mut outputs = self.outputs(&batch.images, state, poll)?;
        let read = if outputs.len() > 1 { &outputs[1..] } else { &outputs };
        let (loss, weight) = self.loss.of(read, &batch.labels)?;
        Ok(Evaluated { loss, weight, predictions: Some(outputs.swap_remove(0)) })
    }

    fn left_out(&self) -> Result<Vec<i64>> {
        Ok(self.left_out.clone())
    }

    fn shadows(&self) -> Option<Box<dyn Shadows + '_>> {
        let (engine, shadows) = (self.step.as_ref()?, self.shadows.as_ref()?);
        Some(Box::new(shadows.shadows(engine)?))
    }

    fn parameters_changed(&mut self) {
        self.step.iter_mut().chain(&mut self.inference).for_each(Engine::parameters_changed);
    }
}

/// Images and labels in the order of a program's inputs.
fn tensors(batch: &Batch) -> Vec<&Tensor> {
    [&batch.images].into_iter().chain(&batch.labels).collect()
}

fn filled_up(images: &Tensor, size: i64) -> Result<Tensor> {
    let mut shape = images.size();
    let missing = size - shape[0];
    if missing == 0 {
        return Ok(images.shallow_clone());
    }
    shape[0] = missing;
    let rest = Tensor::f_zeros(shape.as_slice(), (images.f_kind()?, images.device()))?;
    to_channels_last(&Tensor::f_cat(&[images, &rest], 0)?)
}
