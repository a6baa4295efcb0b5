//! A data set in device memory.

use super::slot::Slot;
use super::tables::{device, Table};
use crate::data::{Loader, Pixels};
use crate::engine::cuda::{address, number};
use crate::engine::Target;
use crate::error::Result;
use crate::kernels::cuda::augment::{Augment, Data, Settings};
use crate::kernels::cuda::Address;

/// A whole data set in device memory, which kernels augment.
pub struct Resident {
    pub loader: Loader,
    /// The bytes of uint8 or fp32 numbers, `[images, height, width, channels]`.
    images: Table<u8>,
    labels: Table<i64>,
    order: Table<i64>,
    mean: Table<f32>,
    std: Table<f32>,
    pub batch: usize,
    pub total: usize,
    left: usize,
}

impl Resident {
    /// Makes the same batches as the loader would, of `batch` images.
    pub fn new(loader: Loader, batch: usize, target: &Target) -> Result<Resident> {
        let dataset = loader.dataset().clone();
        let images = match dataset.pixels() {
            Pixels::U8(values) => Table::of(values, target)?,
            // SAFETY: the bytes of numbers without padding.
            Pixels::F32(values) => Table::of(
                unsafe {
                    std::slice::from_raw_parts(
                        values.as_ptr().cast::<u8>(),
                        size_of_val(values.as_slice()),
                    )
                },
                target,
            )?,
        };
        let labels = Table::of(dataset.labels(), target)?;
        let total = match loader.config().drop_last {
            true => dataset.num_images() / batch.max(1) * batch,
            false => dataset.num_images(),
        };
        let (mean, std) = loader.mean_std()?;
        Ok(Resident {
            images,
            labels,
            order: Table::new(dataset.num_images(), target)?,
            mean: Table::of(&mean, target)?,
            std: Table::of(&std, target)?,
            loader,
            batch,
            total,
            left: 0,
        })
    }

    pub fn start(&mut self, epoch: u64) -> Result<()> {
        let order: Vec<i64> = self.loader.order(epoch).iter().map(|&i| i as i64).collect();
        self.left = self.total.div_ceil(self.batch);
        self.order.write(&order)
    }

    pub fn prepare(&mut self) -> bool {
        let more = self.left > 0;
        self.left = self.left.saturating_sub(1);
        more
    }

    pub fn launch(&self, slot: &Slot, cursor: Address, target: &Target) -> Result<()> {
        let dataset = self.loader.dataset();
        let [_, height, width, channels] = dataset.shape();
        let config = self.loader.config();
        let settings = Settings {
            pad: config.augment.pad as i32,
            flip: config.augment.flip.into(),
            cutout: config.augment.cutout as i32,
        };
        let augment = Augment {
            data: Data {
                images: self.images.address(),
                is_u8: matches!(dataset.pixels(), Pixels::U8(_)),
                labels: self.labels.address(),
                order: self.order.address(),
                height,
                width,
                channels,
                mean: self.mean.address(),
                std: self.std.address(),
            },
            settings,
            seed: config.seed,
            cursor,
            batch: self.batch,
            total: self.total,
            number: number(&slot.images)?,
            out: address(&slot.images)?,
            out_labels: address(&slot.labels[0])?,
        };
        // SAFETY: the tables hold the data set, the slot has the size of a batch, and the order has
        // the length of an epoch.
        unsafe { augment.launch(device(target)?.as_ref()) }
    }
}
