//! Captures a series of launches as a CUDA graph, and replays it.

use crate::error::{Error, Result};

/// Captures the launches on torch's stream; torch does this, from Python.
pub trait Graphs {
    /// Starts the capture: launches are recorded and do not run.
    fn begin(&mut self) -> Result<()>;

    /// Ends the capture.
    fn end(&mut self) -> Result<Box<dyn Replay>>;

    /// Ends the capture after an error.
    fn abandon(&mut self) -> Result<()>;

    /// Reports to the user why a step cannot be captured.
    fn explain(&mut self, reason: &str) -> Result<()>;
}

/// A captured graph.
pub trait Replay {
    /// Launches the graph, which runs after all work that was launched before.
    fn replay(&self) -> Result<()>;
}

/// The steps that run before the capture. In these torch selects its convolution algorithms, and
/// memory that is allocated once is allocated.
const WARM_UP: usize = 3;

/// How steps are executed: launch by launch at first, then as a graph if a step can be captured.
pub enum Execution {
    Launches { until_capture: Option<usize> },
    Graph(Box<dyn Replay>),
}

impl Execution {
    /// Without `graphs` nothing is ever captured.
    pub fn new(graphs: Option<&dyn Graphs>) -> Execution {
        Execution::Launches { until_capture: graphs.map(|_| WARM_UP) }
    }
}

/// A step that can be launched.
pub trait Launches {
    fn launch(&mut self, capturing: bool) -> Result<()>;

    /// Called after the capture, before the first replay.
    fn captured(&mut self) -> Result<()>;
}

impl Execution {
    /// Runs one step.
    pub fn run(
        &mut self,
        graphs: &mut Option<&mut dyn Graphs>,
        step: &mut dyn Launches,
    ) -> Result<()> {
        match (&mut *self, graphs) {
            (Execution::Graph(graph), _) => graph.replay(),
            (Execution::Launches { until_capture: Some(0) }, Some(graphs)) => {
                *self = capture(*graphs, step)?;
                match self {
                    Execution::Graph(graph) => graph.replay(),
                    Execution::Launches { .. } => step.launch(false),
                }
            }
            (Execution::Launches { until_capture }, _) => {
                *until_capture = until_capture.map(|left| left.saturating_sub(1));
                step.launch(false)
            }
        }
    }
}

/// Captures a step. If that fails, all later steps are executed launch by launch.
fn capture(graphs: &mut dyn Graphs, step: &mut dyn Launches) -> Result<Execution> {
    graphs.begin()?;
    let captured = step.launch(true).and_then(|()| graphs.end());
    match captured {
        Ok(graph) => {
            step.captured()?;
            Ok(Execution::Graph(graph))
        }
        Err(error) => {
            graphs.abandon()?;
            if error.is_out_of_memory() || matches!(error, Error::Stopped) {
                return Err(error);
            }
            graphs.explain(&error.to_string())?;
            Ok(Execution::Launches { until_capture: None })
        }
    }
}
