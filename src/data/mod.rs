//! Images in memory and the way from them to a batch: read, augment, normalize, prefetch.
//!
//! Everything random is a pure function of (seed, epoch, image), so a run can be repeated whatever
//! the threads do.

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
