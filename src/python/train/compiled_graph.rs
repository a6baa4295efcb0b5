//! `CompiledGraph`: a captured graph for the user's own training loop.

use std::path::PathBuf;
use std::sync::Mutex;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3_tch::PyTensor;
use tch::Tensor;

use super::engine_runner::capture;
use super::fallback::PythonFallback;
use super::raised::Raised;
use crate::engine::{Choice, Engine, Memory, Target};
use crate::error::{Error, Result};
use crate::program::{Input, Program};
use crate::python::cuda::CudaDevice;
use crate::python::tuning::{preference, tuner};

#[pyclass(frozen, module = "proprelu._core")]
pub struct CompiledGraph {
    engine: Mutex<Engine>,
    raised: Raised,
}

#[pymethods]
impl CompiledGraph {
    #[new]
    #[pyo3(signature = (graph, fallback, *, conv_algorithm="auto", tune_file=None, device=None))]
    fn new(
        graph: &Bound<'_, PyAny>,
        fallback: Py<PyAny>,
        conv_algorithm: &str,
        tune_file: Option<PathBuf>,
        device: Option<&CudaDevice>,
    ) -> PyResult<CompiledGraph> {
        let raised = Raised::default();
        let tuner = tune_file.map(|file| tuner(graph.py(), Some(file))).transpose()?;
        let choice = Choice { preference: preference(conv_algorithm)?, tuner };
        let capture = capture(graph)?;
        let program = match device {
            Some(device) => Program::lower_for_cuda(capture, &device.name()),
            None => Program::lower(capture),
        };
        let target = device.map_or_else(Target::cpu, CudaDevice::target);
        let fallback = Box::new(PythonFallback { function: fallback, raised: raised.clone() });
        let engine = Engine::new(program, fallback, &choice, Memory::Normal, target)?;
        Ok(CompiledGraph { engine: Mutex::new(engine), raised })
    }

    /// Runs the graph on all its inputs, in order, and returns all its results.
    fn __call__(&self, py: Python<'_>, inputs: Vec<PyTensor>) -> PyResult<Vec<PyTensor>> {
        let inputs: Vec<Tensor> = inputs.into_iter().map(|input| input.0).collect();
        let results = py.allow_threads(move || self.run(&inputs));
        Ok(self.raised.release(results)?.into_iter().map(PyTensor).collect())
    }

    /// The program as text.
    fn listing(&self) -> PyResult<String> {
        let engine = self.engine.try_lock();
        let engine = engine.map_err(|_| PyValueError::new_err("the program is running"))?;
        Ok(engine.report().to_string())
    }
}

impl CompiledGraph {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut engine = self.engine.lock().unwrap_or_else(|broken| broken.into_inner());
        let expected = engine.program().inputs.len();
        if inputs.len() != expected {
            let got = inputs.len();
            return Err(Error::Capture(format!("{got} inputs for a graph of {expected}")));
        }
        let bind = |index: usize, _: &Input| Ok(inputs[index].f_detach()?);
        Ok(engine.run(&bind, &mut || Ok(()))?.results)
    }
}
