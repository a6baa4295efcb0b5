//! torch's CUDA graphs through a Python object with `begin()`, `end()`, which returns an object
//! with `replay()`, `abandon()` and `explain(reason)`.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use super::raised::Raised;
use crate::error::{Error, Result};
use crate::train::cuda::{Graphs, Replay};

pub struct PythonGraphs {
    pub object: Py<PyAny>,
    pub raised: Raised,
}

impl PythonGraphs {
    fn call(&self, method: &str) -> Result<Py<PyAny>> {
        self.raised.keep(Python::with_gil(|py| self.object.call_method0(py, method)))
    }
}

impl Graphs for PythonGraphs {
    fn begin(&mut self) -> Result<()> {
        self.call("begin").map(drop)
    }

    fn end(&mut self) -> Result<Box<dyn Replay>> {
        let graph = Python::with_gil(|py| match self.object.call_method0(py, "end") {
            // A failed capture may be reported here first; unlike Ctrl-C it does not stop training.
            Err(error) if error.is_instance_of::<PyException>(py) => {
                Err(Error::Cuda(error.to_string()))
            }
            graph => self.raised.keep(graph),
        })?;
        Ok(Box::new(Graph { graph, raised: self.raised.clone() }))
    }

    fn abandon(&mut self) -> Result<()> {
        self.call("abandon").map(drop)
    }

    fn explain(&mut self, reason: &str) -> Result<()> {
        let told = Python::with_gil(|py| self.object.call_method1(py, "explain", (reason,)));
        self.raised.keep(told.map(drop))
    }
}

struct Graph {
    graph: Py<PyAny>,
    raised: Raised,
}

impl Replay for Graph {
    fn replay(&self) -> Result<()> {
        self.raised.keep(Python::with_gil(|py| self.graph.call_method0(py, "replay").map(drop)))
    }
}
