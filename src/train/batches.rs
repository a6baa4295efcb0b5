//! Sources of batches.

use tch::{Device, Kind, Tensor};

use crate::data::{self, EpochBatches, Loader};
use crate::error::{Error, Result};

pub struct Batch {
    /// Images (N, C, H, W) with the channel innermost in memory.
    pub images: Tensor,
    /// What the loss compares the output with: one tensor, or several.
    pub labels: Vec<Tensor>,
}

impl Batch {
    pub fn len(&self) -> usize {
        self.images.size().first().map_or(0, |n| *n as usize)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A set of batches that can be iterated over repeatedly.
pub trait Batches {
    fn num_batches(&self) -> usize;

    /// Starts an epoch. The same epoch always has the same batches.
    fn start(&mut self, epoch: u64) -> Result<()>;

    fn next_batch(&mut self) -> Result<Option<Batch>>;
}

/// Batches of our own loader.
pub struct LoaderBatches {
    loader: Loader,
    epoch: Option<EpochBatches>,
}

impl LoaderBatches {
    pub fn new(loader: Loader) -> LoaderBatches {
        LoaderBatches { loader, epoch: None }
    }
}

impl Batches for LoaderBatches {
    fn num_batches(&self) -> usize {
        self.loader.num_batches()
    }

    fn start(&mut self, epoch: u64) -> Result<()> {
        self.epoch = Some(self.loader.epoch(epoch)?);
        Ok(())
    }

    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let Some(epoch) = &mut self.epoch else { return Ok(None) };
        let Some(batch) = epoch.next().transpose()? else { return Ok(None) };
        let tensors = tensors(&batch)?;
        epoch.recycle(batch);
        Ok(Some(tensors))
    }
}

fn tensors(batch: &data::Batch) -> Result<Batch> {
    let size = [batch.len, batch.height, batch.width, batch.channels].map(|n| n as i64);
    let mut images = Tensor::f_empty(size, (Kind::Float, Device::Cpu))?;
    let memory = crate::engine::memory::slice_mut::<f32>(&mut images)?;
    if memory.len() != batch.images.len() {
        let (name, expected, got) = ("images", memory.len(), batch.images.len());
        return Err(Error::SliceLength { name, expected, got });
    }
    memory.copy_from_slice(&batch.images);
    let images = images.f_permute([0, 3, 1, 2])?;
    Ok(Batch { images, labels: vec![Tensor::f_from_slice(&batch.labels)?] })
}
