//! `EngineRunner`: captured graphs, lowered to programs.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3_tch::PyTensor;
use pythonize::Depythonizer;
use tch::Tensor;

use super::fallback::PythonFallback;
use super::python_runner::PythonRunner;
use super::raised::Raised;
use crate::engine::{Choice, Engine, Memory, Target};
use crate::error::Result;
use crate::program::{Capture, Program};
use crate::python::cuda::CudaDevice;
use crate::python::plain::to_python;
use crate::python::tuning::{preference, tuner};
use crate::train::{self, Loss};

#[pyclass(frozen, module = "proprelu._core")]
pub struct EngineRunner {
    pub inner: Arc<Mutex<train::EngineRunner>>,
    pub raised: Raised,
    outdated: Arc<AtomicBool>,
}

#[pymethods]
impl EngineRunner {
    #[new]
    #[pyo3(signature = (step, inference, constants, loss, fallback, *, label_smoothing=0.0, left_out=Vec::new(), other=None, conv_algorithm="auto", tune=false, tune_file=None, low_memory=false, device=None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        step: Option<&Bound<'_, PyAny>>,
        inference: Option<&Bound<'_, PyAny>>,
        constants: Vec<(String, PyTensor)>,
        loss: Option<Py<PyAny>>,
        fallback: Py<PyAny>,
        label_smoothing: f64,
        left_out: Vec<i64>,
        other: Option<Py<PyAny>>,
        conv_algorithm: &str,
        tune: bool,
        tune_file: Option<PathBuf>,
        low_memory: bool,
        device: Option<&CudaDevice>,
    ) -> PyResult<EngineRunner> {
        let raised = Raised::default();
        let tuner = if tune { Some(tuner(py, tune_file)?) } else { None };
        let choice = Choice { preference: preference(conv_algorithm)?, tuner };
        let target = device.map_or_else(Target::cpu, CudaDevice::target);
        let memory = if low_memory { Memory::Low } else { Memory::Normal };
        let engine = |graph: Option<&Bound<'_, PyAny>>| -> PyResult<Option<Engine>> {
            let Some(graph) = graph else { return Ok(None) };
            let capture = capture(graph)?;
            let program = match device {
                Some(device) => Program::lower_for_cuda(capture, &device.name()),
                None => Program::lower(capture),
            };
            let function = Python::with_gil(|py| fallback.clone_ref(py));
            let fallback = PythonFallback { function, raised: raised.clone() };
            let fallback = Box::new(fallback);
            Ok(Some(Engine::new(program, fallback, &choice, memory, target.clone())?))
        };
        let (step, inference) = (engine(step)?, engine(inference)?);
        let loss = match loss {
            None => Loss::CrossEntropy { label_smoothing },
            Some(function) => custom_loss(function, &raised),
        };
        let constants = constants.into_iter().map(|(name, tensor)| (name, tensor.0)).collect();
        let mut inner = train::EngineRunner::new(step, inference, constants, loss, target)?
            .with_left_out(left_out);
        if let Some(object) = other {
            inner = inner.with_other(Box::new(PythonRunner { object, raised: raised.clone() }));
        }
        let outdated = inner.outdated();
        Ok(EngineRunner { inner: Arc::new(Mutex::new(inner)), raised, outdated })
    }

    /// Has `other` run everything from the next batch on; also while the programs are running.
    fn outdate(&self) {
        self.outdated.store(true, Ordering::Relaxed);
    }

    /// The program of the training step, with the time of each operation.
    fn step_report<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let report = self.lock()?.step_report();
        report.map(|report| to_python(py, &report)).transpose()
    }

    /// The program of the training step as text.
    fn step_listing(&self) -> PyResult<Option<String>> {
        Ok(self.lock()?.step_report().map(|report| report.to_string()))
    }

    /// The program of the inference as text.
    fn inference_listing(&self) -> PyResult<Option<String>> {
        Ok(self.lock()?.inference_report().map(|report| report.to_string()))
    }
}

impl EngineRunner {
    fn lock(&self) -> PyResult<MutexGuard<'_, train::EngineRunner>> {
        let busy = |_| PyRuntimeError::new_err("the captured program is running");
        self.inner.try_lock().map_err(busy)
    }
}

/// Reads a graph that Python has traced.
pub fn capture(graph: &Bound<'_, PyAny>) -> Result<Capture> {
    Capture::read(&mut Depythonizer::from_object(graph))
}

fn custom_loss(function: Py<PyAny>, raised: &Raised) -> Loss {
    let raised = raised.clone();
    let list = |tensors: &[Tensor]| -> Vec<PyTensor> {
        tensors.iter().map(|tensor| PyTensor(tensor.shallow_clone())).collect()
    };
    Loss::Custom(Box::new(move |outputs, labels| -> Result<(f64, f64)> {
        raised.keep(Python::with_gil(|py| {
            function.call1(py, (list(outputs), list(labels)))?.extract(py)
        }))
    }))
}
