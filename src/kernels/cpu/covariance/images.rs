//! How the threads of a pool share the images of a batch.

use super::shape::Shape;
use crate::cpu::{try_all, Parallel, Serial};
use crate::error::Result;

/// The channels from which the blocks of a product are worth tasks of their own.
const MANY_CHANNELS: usize = 160;

/// Calls `task` with each image and the pool for its products: an image is one task, except where
/// threads would be left without one.
pub(super) fn each_image(
    parallel: &dyn Parallel,
    shape: Shape,
    task: impl Fn(usize, &dyn Parallel) -> Result<()> + Sync,
) -> Result<()> {
    match shape.batch < parallel.threads() && shape.channels >= MANY_CHANNELS {
        true => (0..shape.batch).try_for_each(|image| task(image, parallel)),
        false => try_all(parallel, shape.batch, |image| task(image, &Serial)),
    }
}
