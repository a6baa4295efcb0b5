//! The training loop: epochs, updates, metrics and checkpoints. It runs with the GIL released and
//! reaches the outside through the traits [`Batches`], [`Runner`] and [`Observer`]. A [`Stepper`]
//! runs the steps: [`HostStepper`] one after another, [`cuda::CudaStepper`] ahead of time on a GPU.

mod batches;
mod bound;
pub mod checkpoint;
pub mod cuda;
mod engine_runner;
mod event;
mod fit;
mod host_stepper;
mod loss;
pub mod memory;
mod metric;
mod runner;
mod shadows;
mod state;
mod stepper;
mod update;

pub use batches::{Batch, Batches, LoaderBatches};
pub use engine_runner::EngineRunner;
pub use event::{EpochRow, Observer, StepEvent};
pub use fit::{evaluate, fit, FitOptions};
pub use host_stepper::{HostStepper, Updates};
pub use loss::Loss;
pub use metric::{Metrics, Totals};
pub use runner::{Evaluated, Runner, StepResults};
pub use state::{Parameter, State};
pub use stepper::Stepper;
