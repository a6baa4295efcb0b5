//! Data that come batch by batch.

use tch::Kind;

use super::slot::Slot;
use super::tables::device;
use crate::engine::cuda::address;
use crate::engine::memory::{bytes, empty_channels_last};
use crate::engine::Target;
use crate::error::{Error, Result};
use crate::kernels::cuda::LANES;
use crate::train::loss::check_labels;
use crate::train::Batches;

/// Batches that the host makes and sends one by one.
pub struct Streamed {
    pub batches: Box<dyn Batches>,
    /// Their shape, where labels are to be classes of them.
    predictions: Option<Vec<i64>>,
    /// Where batches arrive while the one before is used.
    lanes: Vec<Slot>,
    lane: usize,
    target: Target,
}

impl Streamed {
    pub fn new(
        batches: Box<dyn Batches>,
        slot: &Slot,
        predictions: Option<Vec<i64>>,
        target: &Target,
    ) -> Result<Streamed> {
        let lane = |_| -> Result<Slot> {
            let size = slot.images.size();
            Ok(Slot {
                images: empty_channels_last(size, Kind::Float, target.device)?,
                labels: slot.labels.f_empty_like()?,
            })
        };
        let lanes = (0..LANES).map(lane).collect::<Result<_>>()?;
        Ok(Streamed { batches, predictions, lanes, lane: 0, target: target.clone() })
    }

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
        let arrived = &self.lanes[self.lane];
        let parts = [
            (bytes(&batch.images)?, address(&arrived.images)?),
            (bytes(&labels)?, address(&arrived.labels)?),
        ];
        let device = device(&self.target)?;
        // SAFETY: the lane's tensors have the sizes of the batch, and only the copies below, which
        // run before `sent`, use them.
        unsafe { device.send(self.lane, &parts) }?;
        slot.images.shallow_clone().f_copy_(&arrived.images)?;
        slot.labels.shallow_clone().f_copy_(&arrived.labels)?;
        device.sent(self.lane)?;
        self.lane = (self.lane + 1) % LANES;
        Ok(true)
    }
}
