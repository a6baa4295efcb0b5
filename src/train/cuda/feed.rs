//! Where the batches of a training on a GPU come from.

use tch::{Kind, Tensor};

use super::tables::{device, Table};
use crate::data::{Loader, Pixels};
use crate::engine::cuda::{address, number};
use crate::engine::memory::{bytes, empty_channels_last};
use crate::engine::Target;
use crate::error::{Error, Result};
use crate::kernels::cuda::augment::{Augment, Data, Settings};
use crate::kernels::cuda::{Address, LANES};
use crate::program::{Dtype, Program, Role};
use crate::train::{Batches, LoaderBatches};

/// The images and labels that a step reads: always the same memory.
pub struct Slot {
    /// (N, C, H, W) with the channel innermost.
    pub images: Tensor,
    /// int64, (N,)
    pub labels: Tensor,
}

impl Slot {
    /// What a program reads of a batch; labels are int64 where it reads none.
    pub fn of(program: &Program, target: &Target) -> Result<Slot> {
        let mut batch = program.inputs.iter().filter(|input| input.role == Role::Batch);
        let mut next = || batch.next().map(|input| &program.values[input.value.0]);
        let images = next().ok_or_else(|| Error::Capture("the program takes no images".into()))?;
        let kind = kind(images.dtype);
        let size = images.shape.clone();
        let labels = match next() {
            Some(labels) => (labels.shape.clone(), self::kind(labels.dtype)),
            None => (vec![size[0]], Kind::Int64),
        };
        Ok(Slot {
            images: empty_channels_last(size, kind, target.device)?,
            labels: Tensor::f_zeros(labels.0, (labels.1, target.device))?,
        })
    }

    pub fn batch(&self) -> usize {
        self.images.size().first().map_or(0, |n| *n as usize)
    }
}

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
    pub fn new(source: Source, slot: &Slot, resident: bool, target: &Target) -> Result<Feed> {
        let batches: Box<dyn Batches> = match source {
            Source::Loader(loader) if resident => {
                return Ok(Feed::Resident(Resident::new(loader, slot.batch(), target)?));
            }
            Source::Loader(loader) => Box::new(LoaderBatches::new(loader)),
            Source::Batches(batches) => batches,
        };
        Ok(Feed::Streamed(Streamed::new(batches, slot, target)?))
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
            Feed::Streamed(streamed) => streamed.batches.num_batches() * streamed.batch,
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

fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Bfloat16 => Kind::BFloat16,
        Dtype::Int64 => Kind::Int64,
        _ => Kind::Float,
    }
}

/// A whole data set on the device, augmented there.
pub struct Resident {
    loader: Loader,
    /// As bytes: uint8 or fp32, `[images, height, width, channels]`.
    images: Table<u8>,
    labels: Table<i64>,
    order: Table<i64>,
    mean: Table<f32>,
    std: Table<f32>,
    batch: usize,
    total: usize,
    left: usize,
}

impl Resident {
    /// Batches of `batch` images, as the loader would make them.
    fn new(loader: Loader, batch: usize, target: &Target) -> Result<Resident> {
        let dataset = loader.dataset().clone();
        let images = match dataset.pixels() {
            Pixels::U8(values) => Table::of(values, target)?,
            // SAFETY: numbers are bytes.
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

    fn start(&mut self, epoch: u64) -> Result<()> {
        let order: Vec<i64> = self.loader.order(epoch).iter().map(|&i| i as i64).collect();
        self.left = self.total.div_ceil(self.batch);
        self.order.write(&order)
    }

    fn prepare(&mut self) -> bool {
        let more = self.left > 0;
        self.left = self.left.saturating_sub(1);
        more
    }

    fn launch(&self, slot: &Slot, cursor: Address, target: &Target) -> Result<()> {
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
            out_labels: address(&slot.labels)?,
        };
        // SAFETY: the tables are those of the data set, the slot holds a batch of its images, and
        // the order has as many as an epoch.
        unsafe { augment.launch(device(target)?.as_ref()) }
    }
}

/// Batches that the host makes and sends one by one.
pub struct Streamed {
    batches: Box<dyn Batches>,
    batch: usize,
    /// Where batches arrive while the one before is used.
    lanes: Vec<Slot>,
    lane: usize,
    target: Target,
}

impl Streamed {
    fn new(batches: Box<dyn Batches>, slot: &Slot, target: &Target) -> Result<Streamed> {
        let lane = |_| -> Result<Slot> {
            let size = slot.images.size();
            Ok(Slot {
                images: empty_channels_last(size, Kind::Float, target.device)?,
                labels: slot.labels.f_empty_like()?,
            })
        };
        let lanes = (0..LANES).map(lane).collect::<Result<_>>()?;
        Ok(Streamed { batches, batch: slot.batch(), lanes, lane: 0, target: target.clone() })
    }

    fn prepare(&mut self, slot: &Slot) -> Result<bool> {
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
