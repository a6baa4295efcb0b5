//! `EngineRunner`: captured graphs, lowered and ready to run.

use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use pyo3_tch::PyTensor;

use super::fallback::PythonFallback;
use super::raised::Raised;
use crate::engine::Engine;
use crate::error::Result;
use crate::program::{Capture, Program};
use crate::train::{self, Loss};

#[pyclass(frozen, module = "proprelu._core")]
pub struct EngineRunner {
    pub inner: Arc<Mutex<train::EngineRunner>>,
    pub raised: Raised,
    listing: [Option<String>; 2],
}

#[pymethods]
impl EngineRunner {
    #[new]
    #[pyo3(signature = (step, inference, constants, loss, fallback, *, label_smoothing=0.0))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        step: Option<&str>,
        inference: Option<&str>,
        constants: Vec<(String, PyTensor)>,
        loss: Option<Py<PyAny>>,
        fallback: Py<PyAny>,
        label_smoothing: f64,
    ) -> PyResult<EngineRunner> {
        let raised = Raised::default();
        let engine = |graph: Option<&str>| -> PyResult<Option<Engine>> {
            let Some(graph) = graph else { return Ok(None) };
            let program = Program::lower(Capture::from_json(graph)?);
            let function = Python::with_gil(|py| fallback.clone_ref(py));
            let fallback = PythonFallback { function, raised: raised.clone() };
            Ok(Some(Engine::new(program, Box::new(fallback))?))
        };
        let (step, inference) = (engine(step)?, engine(inference)?);
        let listing = [&step, &inference]
            .map(|engine| engine.as_ref().map(|engine| engine.program().to_string()));
        let loss = match loss {
            None => Loss::CrossEntropy { label_smoothing },
            Some(function) => custom_loss(function, &raised),
        };
        let constants = constants.into_iter().map(|(name, tensor)| (name, tensor.0)).collect();
        let inner = train::EngineRunner { step, inference, constants, loss };
        Ok(EngineRunner { inner: Arc::new(Mutex::new(inner)), raised, listing })
    }

    /// The program of the training step as text.
    #[getter]
    fn step(&self) -> Option<&str> {
        self.listing[0].as_deref()
    }

    /// The program of the inference as text.
    #[getter]
    fn inference(&self) -> Option<&str> {
        self.listing[1].as_deref()
    }
}

fn custom_loss(function: Py<PyAny>, raised: &Raised) -> Loss {
    let raised = raised.clone();
    Loss::Custom(Box::new(move |predictions, labels| -> Result<f64> {
        raised.keep(Python::with_gil(|py| {
            let (predictions, labels) = (predictions.shallow_clone(), labels.shallow_clone());
            function.call1(py, (PyTensor(predictions), PyTensor(labels)))?.extract(py)
        }))
    }))
}
