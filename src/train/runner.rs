//! Who computes a step.

use tch::Tensor;

use super::batches::Batch;
use super::state::State;
use crate::engine::Poll;
use crate::error::Result;
use crate::optim::Shadows;

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
