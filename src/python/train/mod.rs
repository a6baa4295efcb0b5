//! Bindings of `train` and `engine`.

mod compiled_graph;
mod engine_runner;
mod fallback;
mod graphs;
mod observer;
mod python_batches;
mod python_runner;
mod raised;
mod state;

use pyo3::prelude::*;

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<compiled_graph::CompiledGraph>()?;
    m.add_class::<engine_runner::EngineRunner>()?;
    m.add_class::<state::TrainState>()
}
