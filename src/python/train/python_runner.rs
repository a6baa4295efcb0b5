//! Runs a model that cannot be captured: forward and autograd in Python, the rest in the core.

use pyo3::prelude::*;
use pyo3_tch::PyTensor;
use tch::{Device, Tensor};

use super::raised::Raised;
use crate::engine::Poll;
use crate::error::Result;
use crate::train::{Batch, Evaluated, Runner, State, StepResults};

/// `object` has `step(images, labels)`, `evaluate(images, labels)` and `predict(images)`; labels are
/// a list of tensors. `left_out` is a list of the labels that the loss leaves out.
pub struct PythonRunner {
    pub object: Py<PyAny>,
    pub raised: Raised,
}

type PyStep = (f64, PyTensor, Vec<(String, PyTensor)>);

/// The device of the model.
fn device(state: &State) -> Device {
    let parameters = state.parameters.iter().map(|parameter| &parameter.tensor);
    let buffers = state.buffers.iter().map(|(_, tensor)| tensor);
    parameters.chain(buffers).next().map_or(Device::Cpu, Tensor::device)
}

/// The batch on the device of the parameters.
fn arguments(batch: &Batch, state: &State) -> Result<(PyTensor, Vec<PyTensor>)> {
    let device = device(state);
    let moved = |labels: &Tensor| Ok(PyTensor(labels.f_to_device(device)?));
    let labels = batch.labels.iter().map(moved).collect::<Result<_>>()?;
    Ok((PyTensor(batch.images.f_to_device(device)?), labels))
}

impl Runner for PythonRunner {
    fn step(&mut self, batch: &Batch, state: &State, _poll: &mut Poll<'_>) -> Result<StepResults> {
        let args = arguments(batch, state)?;
        let step: PyResult<PyStep> =
            Python::with_gil(|py| self.object.call_method1(py, "step", args)?.extract(py));
        let (loss, predictions, named) = self.raised.keep(step)?;
        let mut gradients: Vec<Option<Tensor>> = state.parameters.iter().map(|_| None).collect();
        for (name, gradient) in named {
            if let Some(index) = state.parameter_index(&name) {
                gradients[index] = Some(gradient.0);
            }
        }
        let predictions = Some(predictions.0.f_to_device(Device::Cpu)?);
        Ok(StepResults { loss, predictions, gradients })
    }

    fn predict(&mut self, images: &Tensor, state: &State, _poll: &mut Poll<'_>) -> Result<Tensor> {
        let images = images.f_to_device(device(state))?;
        let predictions: PyResult<PyTensor> = Python::with_gil(|py| {
            self.object.call_method1(py, "predict", (PyTensor(images),))?.extract(py)
        });
        Ok(self.raised.keep(predictions)?.0.f_to_device(Device::Cpu)?)
    }

    fn evaluate(
        &mut self,
        batch: &Batch,
        state: &State,
        _poll: &mut Poll<'_>,
    ) -> Result<Evaluated> {
        let args = arguments(batch, state)?;
        let evaluated: PyResult<(f64, f64, PyTensor)> =
            Python::with_gil(|py| self.object.call_method1(py, "evaluate", args)?.extract(py));
        let (loss, weight, predictions) = self.raised.keep(evaluated)?;
        let predictions = Some(predictions.0.f_to_device(Device::Cpu)?);
        Ok(Evaluated { loss, weight, predictions })
    }

    fn left_out(&self) -> Result<Vec<i64>> {
        let left_out = Python::with_gil(|py| self.object.getattr(py, "left_out")?.extract(py));
        self.raised.keep(left_out)
    }
}
