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

pub use compiled_graph::CompiledGraph;
pub use engine_runner::EngineRunner;
pub use state::TrainState;
