//! Batches that the host makes and copies to the device.

use tch::{Kind, Tensor};

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
                labels: slot
                    .labels
                    .iter()
                    .map(Tensor::f_empty_like)
                    .collect::<std::result::Result<_, _>>()?,
            })
        };
        let staging = (0..STAGING_BUFFERS).map(staging).collect::<Result<_>>()?;
        Ok(Streamed { batches, predictions, staging, next: 0, target: target.clone() })
    }

    /// Copies the next batch to `slot`; returns `false` at the end of the epoch.
    pub fn prepare(&mut self, slot: &Slot) -> Result<bool> {
        let Some(batch) = self.batches.next_batch()? else { return Ok(false) };
        check_shape("images", &slot.images, &batch.images)?;
        let staging = &self.staging[self.next];
        let mut labels = Vec::with_capacity(slot.labels.len());
        for (place, given) in slot.labels.iter().zip(&batch.labels) {
            check_shape("labels", place, given)?;
            if let Some(predictions) = &self.predictions {
                check_labels(given, predictions)?;
            }
            labels.push(given.f_to_kind(place.f_kind()?)?.f_contiguous()?);
        }
        let mut parts = vec![(bytes(&batch.images)?, address(&staging.images)?)];
        for (labels, place) in labels.iter().zip(&staging.labels) {
            parts.push((bytes(labels)?, address(place)?));
        }
        let device = device(&self.target)?;
        // SAFETY: the tensors have the sizes of the batch, and only the copies below use them, which
        // are launched before `release`.
        unsafe { device.send(self.next, &parts) }?;
        for (place, sent) in slot.tensors().into_iter().zip(staging.tensors()) {
            place.shallow_clone().f_copy_(sent)?;
        }
        device.release(self.next)?;
        self.next = (self.next + 1) % STAGING_BUFFERS;
        Ok(true)
    }
}

fn check_shape(name: &str, expected: &Tensor, got: &Tensor) -> Result<()> {
    let (expected, got) = (expected.size(), got.size());
    if expected == got {
        return Ok(());
    }
    Err(Error::InputShape { name: name.into(), expected, got })
}
