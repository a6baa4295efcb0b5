//! Training on a GPU. A step is a series of launches, from the batch to the optimizer, and nothing
//! in it waits: it is captured into a graph once and replayed. What changes from step to step (where
//! in the data, which rate, the sums of the metrics) lies on the device.
//!
//! `feed` is where batches come from (`resident`, `streamed`), `slot` where a step reads them, `tables` what the host writes there and reads, `update` the
//! optimizer's part of it; `train_step` and `eval_step` launch one batch, `graph` captures that;
//! `stepper` goes through epochs. `single_update` is for gradients that Python computes.

mod eval_step;
mod feed;
mod graph;
mod resident;
mod single_update;
mod slot;
mod stepper;
mod streamed;
mod tables;
mod train_step;
mod update;

pub use eval_step::Evaluation;
pub use feed::Source;
pub use graph::{Graphs, Replay};
pub use single_update::SingleUpdate;
pub use stepper::{CudaStepper, Options};
