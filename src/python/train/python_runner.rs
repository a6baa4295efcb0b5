//! A model that cannot be captured: forward and autograd in Python, the rest of the loop as ever.

use pyo3::prelude::*;
use pyo3_tch::PyTensor;
use tch::Tensor;

use super::raised::Raised;
use crate::engine::Poll;
use crate::error::Result;
use crate::train::{Batch, Runner, State, StepResults};

/// `object` has `step(images, labels)`, `predict(images)` and `loss(predictions, labels)`.
pub struct PythonRunner {
    pub object: Py<PyAny>,
    pub raised: Raised,
}

type PyStep = (f64, PyTensor, Vec<(String, PyTensor)>);

fn tensor(tensor: &Tensor) -> PyTensor {
    PyTensor(tensor.shallow_clone())
}

impl Runner for PythonRunner {
    fn step(&mut self, batch: &Batch, state: &State, _poll: &mut Poll<'_>) -> Result<StepResults> {
        let step: PyResult<PyStep> = Python::with_gil(|py| {
            let args = (tensor(&batch.images), tensor(&batch.labels));
            self.object.call_method1(py, "step", args)?.extract(py)
        });
        let (loss, predictions, named) = self.raised.keep(step)?;
        let mut gradients: Vec<Option<Tensor>> = state.parameters.iter().map(|_| None).collect();
        for (name, gradient) in named {
            if let Some(index) = state.parameter_index(&name) {
                gradients[index] = Some(gradient.0);
            }
        }
        Ok(StepResults { loss, predictions: Some(predictions.0), gradients })
    }

    fn predict(&mut self, images: &Tensor, _state: &State, _poll: &mut Poll<'_>) -> Result<Tensor> {
        let predictions: PyResult<PyTensor> = Python::with_gil(|py| {
            self.object.call_method1(py, "predict", (tensor(images),))?.extract(py)
        });
        Ok(self.raised.keep(predictions)?.0)
    }

    fn loss(&mut self, predictions: &Tensor, labels: &Tensor) -> Result<f64> {
        let args = (tensor(predictions), tensor(labels));
        let loss = Python::with_gil(|py| self.object.call_method1(py, "loss", args)?.extract(py));
        self.raised.keep(loss)
    }
}
