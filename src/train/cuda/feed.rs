//! Where the batches of a training on a GPU come from.

use super::resident::Resident;
use super::slot::Slot;
use super::streamed::Streamed;
use crate::data::Loader;
use crate::engine::Target;
use crate::error::Result;
use crate::kernels::cuda::Address;
use crate::train::{Batches, LoaderBatches};

/// Batches, or where they can be made from on the device.
pub enum Source {
    Loader(Loader),
    Batches(Box<dyn Batches>),
}

pub enum Feed {
    Resident(Resident),
    Streamed(Streamed),
}

impl Feed {
    /// The loader's data on the device if `resident`, else sent batch by batch.
    ///
    /// `predictions` is their shape where labels are to be classes of them.
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

    /// The largest label, where that is known beforehand.
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

    /// Images of an epoch; the last batch may have fewer than the others.
    pub fn total(&self) -> usize {
        match self {
            Feed::Resident(resident) => resident.total,
            // As many as come, all batches being full.
            Feed::Streamed(_) => i64::MAX as usize,
        }
    }

    /// Goes to the start of an epoch.
    pub fn start(&mut self, epoch: u64) -> Result<()> {
        match self {
            Feed::Resident(resident) => resident.start(epoch),
            Feed::Streamed(streamed) => streamed.batches.start(epoch),
        }
    }

    /// What the host has to do for the next batch; `false` where it has no more.
    pub fn prepare(&mut self, slot: &Slot) -> Result<bool> {
        match self {
            Feed::Resident(resident) => Ok(resident.prepare()),
            Feed::Streamed(streamed) => streamed.prepare(slot),
        }
    }

    /// What the device has to do for it.
    pub fn launch(&self, slot: &Slot, cursor: Address, target: &Target) -> Result<()> {
        match self {
            Feed::Resident(resident) => resident.launch(slot, cursor, target),
            Feed::Streamed(_) => Ok(()),
        }
    }
}
