//! Training on a GPU.
//!
//! A step is a series of launches, from the batch to the optimizer, that never waits for the device.
//! It is captured into a CUDA graph once and replayed. Everything that changes from step to step
//! (the position in the data, the learning rate, the sums of the metrics) is in device memory.
//!
//! `feed` provides the batches (`resident`, `streamed`) and `slot` holds the one that a step reads.
//! `tables` are arrays in device memory. `update` is the optimizer. `train_step` and `eval_step`
//! launch one batch, `graph` captures and replays it, and `stepper` runs the epochs. `single_update`
//! applies gradients that Python computes.

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
