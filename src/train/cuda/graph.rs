//! A series of launches as a graph of CUDA's.

use crate::error::{Error, Result};

/// Whoever captures what is launched on torch's stream: torch itself, from Python.
pub trait Graphs {
    /// From here on launches are kept and not run.
    fn begin(&mut self) -> Result<()>;

    /// Ends that.
    fn end(&mut self) -> Result<Box<dyn Replay>>;

    /// Ends that after an error.
    fn abandon(&mut self) -> Result<()>;

    /// Tells the user why nothing is captured.
    fn explain(&mut self, reason: &str) -> Result<()>;
}

/// What was captured.
pub trait Replay {
    /// Has it run behind all that was launched before.
    fn replay(&self) -> Result<()>;
}

/// Runs for real before a graph is captured: torch finds out how it convolves, and memory that is
/// allocated once is there.
const WARM_UP: usize = 3;

/// How a step is run: first launch by launch, then, if it can be captured, as a graph.
pub enum Way {
    Launches { until_capture: Option<usize> },
    Graph(Box<dyn Replay>),
}

impl Way {
    /// Launches for good where there is nobody to capture.
    pub fn new(graphs: Option<&dyn Graphs>) -> Way {
        Way::Launches { until_capture: graphs.map(|_| WARM_UP) }
    }
}

/// What launches a step. `captured` is for what has to be done once the graph is there.
pub trait Launches {
    fn launch(&mut self, capturing: bool) -> Result<()>;

    fn captured(&mut self) -> Result<()>;
}

impl Way {
    /// Runs one step.
    pub fn run(
        &mut self,
        graphs: &mut Option<&mut dyn Graphs>,
        step: &mut dyn Launches,
    ) -> Result<()> {
        match (&mut *self, graphs) {
            (Way::Graph(graph), _) => graph.replay(),
            (Way::Launches { until_capture: Some(0) }, Some(graphs)) => {
                *self = capture(*graphs, step)?;
                match self {
                    Way::Graph(graph) => graph.replay(),
                    Way::Launches { .. } => step.launch(false),
                }
            }
            (Way::Launches { until_capture }, _) => {
                *until_capture = until_capture.map(|left| left.saturating_sub(1));
                step.launch(false)
            }
        }
    }
}

/// A step that cannot be captured is launched for good.
fn capture(graphs: &mut dyn Graphs, step: &mut dyn Launches) -> Result<Way> {
    graphs.begin()?;
    let captured = step.launch(true).and_then(|()| graphs.end());
    match captured {
        Ok(graph) => {
            step.captured()?;
            Ok(Way::Graph(graph))
        }
        Err(error) => {
            graphs.abandon()?;
            if error.is_out_of_memory() || matches!(error, Error::Stopped) {
                return Err(error);
            }
            graphs.explain(&error.to_string())?;
            Ok(Way::Launches { until_capture: None })
        }
    }
}
