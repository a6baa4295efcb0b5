//! Batches that the host makes and copies to the device.

use tch::Kind;

use super::slot::Slot;
use super::tables::device;
use crate::engine::cuda::address;
use crate::engine::memory::{bytes, empty_channels_last};
use crate::engine::Target;
use crate::error::{Error, Result};
use crate::kernels::cuda::STAGING_BUFFERS;
use crate::train::loss::check_labels;
use crate::train::Batches;

/// Batches that the host makes and copies to the device one by one.
pub struct Streamed {
    pub batches: Box<dyn Batches>,
    /// The shape of the predictions, if labels have to be checked against it.
    predictions: Option<Vec<i64>>,
    /// Device memory that receives a batch while the previous one is in use.
    staging: Vec<Slot>,
    /// The staging buffer of the next batch.
    next: usize,
    target: Target,
}

impl Streamed {
    pub fn new(
        batches: Box<dyn Batches>,
        slot: &Slot,
        predictions: Option<Vec<i64>>,
        target: &Target,
    ) -> Result<Streamed> {
        let staging = |_| -> Result<Slot> {
            let size = slot.images.size();
            Ok(Slot {
                images: empty_channels_last(size, Kind::Float, target.device)?,
                labels: slot.labels.f_empty_like()?,
            })
        };
        let staging = (0..STAGING_BUFFERS).map(staging).collect::<Result<_>>()?;
        Ok(Streamed { batches, predictions, staging, next: 0, target: target.clone() })
    }

    /// Copies the next batch to `slot`; returns `false` at the end of the epoch.
    pub fn prepare(&mut self, slot: &Slot) -> Result<bool> {
        let Some(batch) = self.batches.next_batch()? else { return Ok(false) };
        if batch.labels.size() != slot.labels.size() {
            return Err(Error::InputShape {
                name: "labels".into(),
                expected: slot.labels.size(),
                got: batch.labels.size(),
            });
        }
        if batch.images.size() != slot.images.size() {
            return Err(Error::InputShape {
                name: "images".into(),
                expected: slot.images.size(),
                got: batch.images.size(),
            });
        }
        if let Some(predictions) = &self.predictions {
            check_labels(&batch.labels, predictions)?;
        }
        let labels = batch.labels.f_to_kind(slot.labels.f_kind()?)?.f_contiguous()?;
        let staging = &self.staging[self.next];
        let parts = [
            (bytes(&batch.images)?, address(&staging.images)?),
            (bytes(&labels)?, address(&staging.labels)?),
        ];
        let device = device(&self.target)?;
        // SAFETY: the tensors have the sizes of the batch, and only the copies below use them, which
        // are launched before `release`.
        unsafe { device.send(self.next, &parts) }?;
        slot.images.shallow_clone().f_copy_(&staging.images)?;
        slot.labels.shallow_clone().f_copy_(&staging.labels)?;
        device.release(self.next)?;
        self.next = (self.next + 1) % STAGING_BUFFERS;
        Ok(true)
    }
}
