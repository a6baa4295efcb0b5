//! Computes training steps and predictions.

use tch::Tensor;

use super::batches::Batch;
use super::state::State;
use crate::engine::Poll;
use crate::error::Result;
use crate::optim::Shadows;

pub struct StepResults {
    pub loss: f64,
    pub predictions: Option<Tensor>,
    /// One for each parameter of the state; `None` if the loss does not reach it.
    pub gradients: Vec<Option<Tensor>>,
}

pub struct Evaluated {
    /// The mean loss of the batch.
    pub loss: f64,
    /// The weight of the batch in a mean of several.
    pub weight: f64,
    pub predictions: Option<Tensor>,
}

pub trait Runner {
    /// Runs forward, loss and backward of one batch. It updates the buffers, but not the
    /// parameters. After an error of `poll` nothing has changed.
    fn step(&mut self, batch: &Batch, state: &State, poll: &mut Poll<'_>) -> Result<StepResults>;

    /// The model's output in evaluation mode for a batch of any size, on the CPU.
    fn predict(&mut self, images: &Tensor, state: &State, poll: &mut Poll<'_>) -> Result<Tensor>;

    /// Must be called when anything but the optimizer has changed parameters.
    fn parameters_changed(&mut self) {}

    /// The loss and the predictions of a batch of any size in evaluation mode, on the CPU.
    fn evaluate(&mut self, batch: &Batch, state: &State, poll: &mut Poll<'_>) -> Result<Evaluated>;

    /// The labels that the loss leaves out, whose predictions are neither right nor wrong.
    fn left_out(&self) -> Result<Vec<i64>>;

    /// The shadows that an update of the parameters has to update. If there are none,
    /// `parameters_changed` must be called after each update.
    fn shadows(&self) -> Option<Box<dyn Shadows + '_>> {
        None
    }
}
