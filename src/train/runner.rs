//! Who computes a step: the engine, or whoever else implements [`Runner`].

use tch::{Device, Kind, Reduction, Tensor};

use super::batches::Batch;
use super::copies::Copies;
use super::state::State;
use crate::engine::memory::{slice, to_channels_last};
use crate::engine::{Engine, Poll, Results, Target};
use crate::error::{Error, Result};
use crate::optim::Shadows;
use crate::program::{Dtype, Input, Report, Role};

pub struct StepResults {
    pub loss: f64,
    pub predictions: Option<Tensor>,
    /// One place for each parameter of the state.
    pub gradients: Vec<Option<Tensor>>,
}

pub trait Runner {
    /// Forward, loss and backward of one batch; brings the buffers up to date, and leaves the
    /// parameters alone. An error of `poll` ends it with nothing changed.
    fn step(&mut self, batch: &Batch, state: &State, poll: &mut Poll<'_>) -> Result<StepResults>;

    /// The model's output in evaluation mode for a batch of any size, on the CPU.
    fn predict(&mut self, images: &Tensor, state: &State, poll: &mut Poll<'_>) -> Result<Tensor>;

    /// To be called when somebody else than the optimizer has changed parameters.
    fn parameters_changed(&mut self) {}

    /// The mean loss of a batch of predictions.
    fn loss(&mut self, predictions: &Tensor, labels: &Tensor) -> Result<f64>;

    /// Who hears of the parameters' new values while they are updated. Without one, the runner has
    /// to be told by `parameters_changed`.
    fn shadows(&self) -> Option<Box<dyn Shadows + '_>> {
        None
    }
}

/// The mean loss of predictions and labels.
pub type LossFunction = Box<dyn Fn(&Tensor, &Tensor) -> Result<f64> + Send + Sync>;

/// How predictions are judged in an evaluation.
pub enum Loss {
    CrossEntropy { label_smoothing: f64 },
    Custom(LossFunction),
}

impl Loss {
    pub fn of(&self, predictions: &Tensor, labels: &Tensor) -> Result<f64> {
        match self {
            Loss::CrossEntropy { label_smoothing } => {
                check_labels(labels, &predictions.size())?;
                let loss = predictions.f_cross_entropy_loss::<Tensor>(
                    labels,
                    None,
                    Reduction::Mean,
                    IGNORED,
                    *label_smoothing,
                )?;
                Ok(loss.f_double_value(&[])?)
            }
            Loss::Custom(custom) => custom(predictions, labels),
        }
    }
}

/// The label that torch leaves out of a cross-entropy.
const IGNORED: i64 = -100;

/// torch would say which label is wrong on the error stream alone.
fn check_labels(labels: &Tensor, predictions: &[i64]) -> Result<()> {
    let (&[_, classes], Kind::Int64) = (predictions, labels.f_kind()?) else { return Ok(()) };
    let labels = labels.f_contiguous()?;
    let wrong = |label: &&i64| **label != IGNORED && !(0..classes).contains(*label);
    match slice::<i64>(&labels)?.iter().find(wrong) {
        Some(&label) => Err(Error::LabelOutputs { label, outputs: classes as usize }),
        None => Ok(()),
    }
}

/// Steps and predictions as captured programs.
pub struct EngineRunner {
    step: Option<Engine>,
    inference: Option<Engine>,
    /// Tensors that the traces lifted out of the model.
    constants: Vec<(String, Tensor)>,
    loss: Loss,
    /// Where the step keeps copies of parameters, found when it first runs.
    copies: Option<Copies>,
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
        Ok(EngineRunner { step, inference, constants, loss, copies: None, target })
    }

    /// What both programs run on.
    pub fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn loss_function(&self) -> &Loss {
        &self.loss
    }

    /// The program of the training step, or of the inference, with what is bound to it.
    pub(super) fn bound(&mut self, which: Which) -> Result<Bound<'_>> {
        let (engine, what) = match which {
            Which::Step => (&mut self.step, "training step"),
            Which::Inference => (&mut self.inference, "inference"),
        };
        let missing = || Error::Capture(format!("no {what} was captured"));
        Ok(Bound { engine: engine.as_mut().ok_or_else(missing)?, constants: &self.constants })
    }

    /// The program of the training step.
    pub fn step_report(&self) -> Option<Report> {
        self.step.as_ref().map(Engine::report)
    }

    /// The program of the inference.
    pub fn inference_report(&self) -> Option<Report> {
        self.inference.as_ref().map(Engine::report)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Step,
    Inference,
}

/// A program and the tensors that its trace lifted out of the model.
pub(super) struct Bound<'a> {
    pub engine: &'a mut Engine,
    constants: &'a [(String, Tensor)],
}

impl Bound<'_> {
    pub fn run(
        &mut self,
        batch: &[&Tensor],
        state: &State,
        poll: &mut Poll<'_>,
    ) -> Result<Results> {
        let first_of_batch = self.first_of_batch();
        let constants = self.constants;
        let bind =
            |index, input: &Input| bind(index, input, first_of_batch, constants, batch, state);
        self.engine.run(&bind, poll)
    }

    /// Brings up to date what the program keeps of parameters.
    pub fn refresh(&mut self, batch: &[&Tensor], state: &State) -> Result<()> {
        let first_of_batch = self.first_of_batch();
        let constants = self.constants;
        let bind =
            |index, input: &Input| bind(index, input, first_of_batch, constants, batch, state);
        self.engine.refresh_parameters(&bind)
    }

    /// How many images the program takes, and their type.
    pub fn batch(&self) -> Result<(i64, Kind)> {
        let program = self.engine.program();
        let info = program.inputs.get(self.first_of_batch());
        let info = info.map(|input| &program.values[input.value.0]);
        let missing = || Error::Capture("the program takes no images".into());
        let info = info.ok_or_else(missing)?;
        let kind = if info.dtype == Dtype::Bfloat16 { Kind::BFloat16 } else { Kind::Float };
        Ok((info.shape.first().copied().unwrap_or(1).max(1), kind))
    }

    fn first_of_batch(&self) -> usize {
        let inputs = &self.engine.program().inputs;
        inputs.iter().position(|input| input.role == Role::Batch).unwrap_or(inputs.len())
    }
}

fn bind(
    index: usize,
    input: &Input,
    first_of_batch: usize,
    constants: &[(String, Tensor)],
    batch: &[&Tensor],
    state: &State,
) -> Result<Tensor> {
    let tensor = match input.role {
        Role::Batch => batch.get(index - first_of_batch).copied(),
        Role::Constant => {
            constants.iter().find(|(name, _)| *name == input.name).map(|(_, tensor)| tensor)
        }
        Role::Parameter | Role::Buffer => state.tensor(&input.name),
    };
    tensor.map(Tensor::shallow_clone).ok_or_else(|| missing(input))
}

fn missing(input: &Input) -> Error {
    Error::Capture(format!("nothing is bound to input {}", input.name))
}

impl Runner for EngineRunner {
    fn step(&mut self, batch: &Batch, state: &State, poll: &mut Poll<'_>) -> Result<StepResults> {
        let judged = matches!(self.loss, Loss::CrossEntropy { .. });
        let copies = self.copies.take();
        let mut bound = self.bound(Which::Step)?;
        let program = bound.engine.program();
        if let Some(value) = program.outputs.predictions.filter(|_| judged) {
            check_labels(&batch.labels, &program.values[value.0].shape)?;
        }
        let copies = copies.unwrap_or_else(|| Copies::new(bound.engine, state));
        let results = bound.run(&[&batch.images, &batch.labels], state, poll)?;
        let engine = bound.engine;
        let loss = match &results.loss {
            Some(loss) => loss.f_double_value(&[])?,
            None => return Err(Error::Capture("the program has no loss".into())),
        };
        let outputs = &engine.program().outputs;
        // A step that went wrong leaves no trace, so that the last checkpoint is what it was.
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
        self.copies = Some(copies);
        Ok(StepResults { loss, predictions: results.predictions, gradients })
    }

    fn predict(&mut self, images: &Tensor, state: &State, poll: &mut Poll<'_>) -> Result<Tensor> {
        let device = self.target.device;
        let mut bound = self.bound(Which::Inference)?;
        let (size, kind) = bound.batch()?;
        let mut images = images.f_to_device(device)?;
        if (kind, images.f_kind()?) == (Kind::BFloat16, Kind::Float) {
            images = images.f_to_kind(kind)?;
        }
        let images = to_channels_last(&images)?;
        let count = images.size().first().copied().unwrap_or(0);
        // A graph holds for one batch size: more goes through in pieces, less is filled up.
        let pieces = (0..count).step_by(size as usize).map(|start| {
            let piece = images.f_narrow(0, start, size.min(count - start))?;
            let tensors = [&filled_up(&piece, size)?];
            let results = bound.run(&tensors, state, poll)?;
            let predictions = results.predictions;
            let predictions = predictions
                .ok_or_else(|| Error::Capture("the program has no predictions".into()))?;
            Ok(predictions.f_narrow(0, 0, size.min(count - start))?)
        });
        let predictions = Tensor::f_cat(&pieces.collect::<Result<Vec<_>>>()?, 0)?;
        Ok(predictions.f_to_device(Device::Cpu)?)
    }

    fn shadows(&self) -> Option<Box<dyn Shadows + '_>> {
        let (engine, copies) = (self.step.as_ref()?, self.copies.as_ref()?);
        Some(Box::new(copies.of(engine)?))
    }

    fn parameters_changed(&mut self) {
        self.step.iter_mut().chain(&mut self.inference).for_each(Engine::parameters_changed);
    }

    fn loss(&mut self, predictions: &Tensor, labels: &Tensor) -> Result<f64> {
        self.loss.of(predictions, labels)
    }
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
