//! Provides the batches of a training on a GPU.

use super::resident::Resident;
use super::slot::Slot;
use super::streamed::Streamed;
use crate::data::Loader;
use crate::engine::Target;
use crate::error::Result;
use crate::kernels::cuda::Address;
use crate::train::{Batches, LoaderBatches};

/// The source of batches: a loader, which the device can replace, or finished batches.
pub enum Source {
    Loader(Loader),
    Batches(Box<dyn Batches>),
}

/// The batches of a training on a GPU.
pub enum Feed {
    /// Made on the device, from a data set in its memory.
    Resident(Resident),
    /// Made on the host and copied to the device.
    Streamed(Streamed),
}

impl Feed {
    /// Copies a loader's data to the device if `resident`, and streams batches otherwise.
    ///
    /// `predictions` is the shape of the predictions, if labels have to be checked against it.
    pub fn new(
        source: Source,
        slot: &Slot,
        predictions: Option<Vec<i64>>,
        resident: bool,
        target: &Target,
    ) -> Result<Feed> {
        let batches: Box<dyn Batches> = match source {
            Source::Loader(loader) if resident => {
                return Ok(Feed::Resident(Resident::new(loader, slot.batch(), target)?));
            }
            Source::Loader(loader) => Box::new(LoaderBatches::new(loader)),
            Source::Batches(batches) => batches,
        };
        Ok(Feed::Streamed(Streamed::new(batches, slot, predictions, target)?))
    }

    /// The largest label, if it is known in advance.
    pub fn largest_label(&self) -> Option<i64> {
        match self {
            Feed::Resident(resident) => resident.loader.dataset().labels().iter().max().copied(),
            Feed::Streamed(_) => None,
        }
    }

    pub fn num_batches(&self) -> usize {
        match self {
            Feed::Resident(resident) => resident.total.div_ceil(resident.batch),
            Feed::Streamed(streamed) => streamed.batches.num_batches(),
        }
    }

    /// The images of an epoch; the last batch may have fewer than the others.
    pub fn total(&self) -> usize {
        match self {
            Feed::Resident(resident) => resident.total,
            // No limit, because all streamed batches are full.
            Feed::Streamed(_) => i64::MAX as usize,
        }
    }

    /// Starts an epoch.
    pub fn start(&mut self, epoch: u64) -> Result<()> {
        match self {
            Feed::Resident(resident) => resident.start(epoch),
            Feed::Streamed(streamed) => streamed.batches.start(epoch),
        }
    }

    /// Does the host's part of the next batch; returns `false` at the end of the epoch.
    pub fn prepare(&mut self, slot: &Slot) -> Result<bool> {
        match self {
            Feed::Resident(resident) => Ok(resident.prepare()),
            Feed::Streamed(streamed) => streamed.prepare(slot),
        }
    }

    /// Launches the device's part of the next batch.
    pub fn launch(&self, slot: &Slot, cursor: Address, target: &Target) -> Result<()> {
        match self {
            Feed::Resident(resident) => resident.launch(slot, cursor, target),
            Feed::Streamed(_) => Ok(()),
        }
    }
}
