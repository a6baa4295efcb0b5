//! Data sets in memory and the steps from them to a batch: read, augment, normalize, prefetch.
//!
//! All random numbers are a pure function of (seed, epoch, image), so that a run can be repeated
//! whatever the order of the threads.

mod augment;
pub mod cifar;
mod dataset;
pub mod idx;
mod loader;
mod prefetch;
mod rng;
mod transform;

pub use augment::{Augment, Geometry};
pub use dataset::{Dataset, MeanStd, Pixels};
pub use loader::{Batch, EpochBatches, Loader, LoaderConfig};
pub use rng::{Philox, Stream};
pub use transform::Transform;
