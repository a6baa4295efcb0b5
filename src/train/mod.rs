//! The training loop: epochs, updates, metrics, checkpoints. It runs with the GIL released; what
//! it needs from outside comes in through the traits [`Batches`], [`Runner`] and [`Observer`].

mod batches;
pub mod checkpoint;
mod copies;
mod event;
mod fit;
mod metric;
mod runner;
mod state;
mod update;

pub use batches::{Batch, Batches, LoaderBatches};
pub use event::{EpochRow, Observer, StepEvent};
pub use fit::{evaluate, fit, FitOptions};
pub use metric::{Metrics, Totals};
pub use runner::{EngineRunner, Loss, Runner, StepResults};
pub use state::{Parameter, State};
