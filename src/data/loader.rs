//! Prepares the batches of a dataset, epoch by epoch.

use std::sync::Arc;

use crossbeam_channel::{bounded, Receiver, Sender};

use super::augment::{Augment, Geometry};
use super::dataset::Dataset;
use super::prefetch::Prefetch;
use super::rng::Philox;
use super::transform::Transform;
use crate::error::{Error, Result};

/// The number of finished batches that wait in the queue.
const DEPTH: usize = 2;

/// The settings of a [`Loader`].
#[derive(Clone, Debug)]
pub struct LoaderConfig {
    pub batch_size: usize,
    /// Draw a new order every epoch, instead of the order of the dataset.
    pub shuffle: bool,
    /// Omit the last batch if it is not full.
    pub drop_last: bool,
    /// Determines the order and the augmentation of every epoch.
    pub seed: u64,
    /// For validation, use [`Augment::evaluation`].
    pub augment: Augment,
}

/// Normalized images (len, height, width, channels) and their labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub images: Vec<f32>,
    pub labels: Vec<i64>,
    pub len: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

/// Makes the batches of any epoch; the same seed and epoch give the same batches.
#[derive(Clone, Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    /// Used batches; the next ones reuse their memory.
    pool: (Sender<Batch>, Receiver<Batch>),
}

#[derive(Debug)]
struct Shared {
    dataset: Arc<Dataset>,
    config: LoaderConfig,
    transform: Transform,
    rng: Philox,
}

/// The batches of one epoch, prepared ahead of time by a thread. Dropping this ends the thread.
#[derive(Debug)]
pub struct EpochBatches {
    batches: Prefetch<Batch>,
    pool: Sender<Batch>,
}

impl Loader {
    pub fn new(dataset: Arc<Dataset>, config: LoaderConfig) -> Result<Self> {
        let images = dataset.num_images();
        let most = if config.drop_last { images } else { usize::MAX };
        if config.batch_size == 0 || config.batch_size > most {
            let expected = match config.drop_last {
                true => format!("from 1 to {images} for {images} images with drop_last"),
                false => "at least 1".to_string(),
            };
            let got = config.batch_size.to_string();
            return Err(Error::DataSetting { name: "batch_size", expected, got });
        }
        let transform = Transform::new(&dataset, &config.augment)?;
        let rng = Philox::new(config.seed);
        let shared = Arc::new(Shared { dataset, config, transform, rng });
        Ok(Loader { shared, pool: bounded(DEPTH + 2) })
    }

    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.shared.dataset
    }

    pub fn config(&self) -> &LoaderConfig {
        &self.shared.config
    }

    /// The number of batches in one epoch.
    pub fn num_batches(&self) -> usize {
        self.shared.num_batches()
    }

    /// The images of an epoch, in order, without those that `drop_last` omits.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order = self.shared.order(epoch);
        order.truncate(self.num_batches() * self.config().batch_size);
        order
    }

    /// The mean and standard deviation of each channel with which images are normalized.
    pub fn mean_std(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        self.config().augment.mean_std(self.dataset().channels())
    }

    /// Starts a thread that makes the batches of `epoch`.
    pub fn epoch(&self, epoch: u64) -> Result<EpochBatches> {
        let (shared, used) = (self.shared.clone(), self.pool.1.clone());
        let batches = Prefetch::spawn(DEPTH, move |sender| {
            let order = shared.order(epoch);
            let batches = order.chunks(shared.config.batch_size).take(shared.num_batches());
            for indices in batches {
                let batch = shared.fill(used.try_recv().unwrap_or_default(), epoch, indices);
                if sender.send(batch).is_err() {
                    return;
                }
            }
        })?;
        Ok(EpochBatches { batches, pool: self.pool.0.clone() })
    }
}

impl Shared {
    fn num_batches(&self) -> usize {
        let (images, size) = (self.dataset.num_images(), self.config.batch_size);
        if self.config.drop_last {
            images / size
        } else {
            images.div_ceil(size)
        }
    }

    fn order(&self, epoch: u64) -> Vec<usize> {
        let images = self.dataset.num_images();
        if self.config.shuffle {
            self.rng.order(epoch, images)
        } else {
            (0..images).collect()
        }
    }

    fn fill(&self, mut batch: Batch, epoch: u64, indices: &[usize]) -> Batch {
        let [_, height, width, channels] = self.dataset.shape();
        let size = self.dataset.image_len();
        (batch.height, batch.width, batch.channels) = (height, width, channels);
        batch.len = indices.len();
        batch.labels.clear();
        batch.labels.extend(indices.iter().map(|&index| self.dataset.labels()[index]));
        batch.images.resize(indices.len() * size, 0.0);
        for (&index, image) in indices.iter().zip(batch.images.chunks_exact_mut(size)) {
            let augment = &self.config.augment;
            let geometry = Geometry::draw(augment, (height, width), &self.rng, epoch, index);
            self.transform.apply(&self.dataset, index, &geometry, image);
        }
        batch
    }
}

impl Iterator for EpochBatches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        self.batches.next()
    }
}

impl EpochBatches {
    /// Returns the memory of a used batch, for a later batch of this epoch or the next.
    pub fn recycle(&self, batch: Batch) {
        // If the pool is full, the batch is dropped.
        let _ = self.pool.try_send(batch);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::Pixels;
    use super::*;

    /// Image i has label i, and all of its pixels are i.
    fn numbered(images: usize) -> Arc<Dataset> {
        let pixels = (0..images).flat_map(|i| [i as f32; 12]).collect();
        let labels = (0..images as i64).collect();
        Arc::new(Dataset::new(Pixels::F32(pixels), [images, 2, 2, 3], labels, None).unwrap())
    }

    fn config(batch_size: usize) -> LoaderConfig {
        let augment = Augment::default();
        LoaderConfig { batch_size, shuffle: true, drop_last: false, seed: 5, augment }
    }

    fn batches(loader: &Loader, epoch: u64) -> Vec<Batch> {
        loader.epoch(epoch).unwrap().map(|batch| batch.unwrap()).collect()
    }

    proptest! {
        #[test]
        fn an_epoch_holds_every_image_once(
            images in 1_usize..60,
            batch_size in 1_usize..70,
            shuffle: bool,
            epoch: u64,
        ) {
            let loader =
                Loader::new(numbered(images), LoaderConfig { shuffle, ..config(batch_size) });
            let loader = loader.unwrap();
            let batches = batches(&loader, epoch);
            prop_assert_eq!(batches.len(), loader.num_batches());
            let full = batches.iter().filter(|batch| batch.len == batch_size).count();
            prop_assert_eq!(full, images / batch_size);
            let mut seen = Vec::new();
            for batch in &batches {
                prop_assert_eq!(batch.images.len(), batch.len * 12);
                for (image, &label) in batch.images.chunks(12).zip(&batch.labels) {
                    prop_assert!(image.iter().all(|&value| value == label as f32));
                    seen.push(label);
                }
            }
            if shuffle {
                seen.sort_unstable();
            }
            prop_assert_eq!(seen, (0..images as i64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn drop_last_leaves_out_the_rest() {
        let config = LoaderConfig { drop_last: true, ..config(4) };
        let loader = Loader::new(numbered(11), config.clone()).unwrap();
        let lens: Vec<usize> = batches(&loader, 0).iter().map(|batch| batch.len).collect();
        assert_eq!((lens, loader.num_batches()), (vec![4, 4], 2));
        let error = Loader::new(numbered(3), config).unwrap_err().to_string();
        assert!(error.contains("from 1 to 3 for 3 images with drop_last, got 4"), "{error}");
        assert!(Loader::new(numbered(3), super::tests::config(0)).is_err());
    }

    #[test]
    fn batches_depend_on_seed_and_epoch_not_on_timing_or_batch_size() {
        let augment = Augment { pad: 1, flip: true, cutout: 1, ..Augment::default() };
        let loader = |batch_size, seed| {
            let config = LoaderConfig { augment: augment.clone(), seed, ..config(batch_size) };
            Loader::new(numbered(30), config).unwrap()
        };
        let first = batches(&loader(7, 5), 3);
        let slow = loader(7, 5);
        let mut epoch = slow.epoch(3).unwrap();
        for expected in &first {
            let batch = epoch.next().unwrap().unwrap();
            assert_eq!(&batch, expected);
            std::thread::sleep(Duration::from_millis(2));
            epoch.recycle(batch);
        }
        let flat = |batches: &[Batch]| -> Vec<f32> {
            batches.iter().flat_map(|batch| batch.images.clone()).collect()
        };
        assert_eq!(flat(&batches(&loader(30, 5), 3)), flat(&first));
        assert_ne!(flat(&batches(&loader(7, 6), 3)), flat(&first));
        assert_ne!(flat(&batches(&loader(7, 5), 4)), flat(&first));
    }

    #[test]
    fn recycled_memory_is_used_again() {
        let loader = Loader::new(numbered(40), config(4)).unwrap();
        let mut places = std::collections::HashSet::new();
        for epoch in 0..3 {
            let mut batches = loader.epoch(epoch).unwrap();
            while let Some(batch) = batches.next() {
                let batch = batch.unwrap();
                places.insert(batch.images.as_ptr() as usize);
                batches.recycle(batch);
            }
        }
        assert!(places.len() <= 2 * (DEPTH + 3), "{} buffers for 30 batches", places.len());
    }

    #[test]
    fn an_epoch_can_be_left_early() {
        let loader = Loader::new(numbered(1_000), config(1)).unwrap();
        for epoch in 0..20 {
            assert_eq!(loader.epoch(epoch).unwrap().take(epoch as usize).count(), epoch as usize);
        }
    }

    #[test]
    #[ignore = "a measurement: cargo test --release -- --ignored --nocapture throughput"]
    fn throughput() {
        let images = 50_000;
        let pixels = (0..images * 3072).map(|i| (i * 7 % 256) as u8).collect();
        let dataset =
            Dataset::new(Pixels::U8(pixels), [images, 32, 32, 3], vec![0; images], Some(1));
        let augment =
            Augment { pad: 4, flip: true, cutout: 0, mean: vec![0.5; 3], std: vec![0.2; 3] };
        let config = LoaderConfig { augment, ..config(128) };
        let loader = Loader::new(Arc::new(dataset.unwrap()), config).unwrap();
        for epoch in 0..4 {
            let start = std::time::Instant::now();
            let mut batches = loader.epoch(epoch).unwrap();
            while let Some(batch) = batches.next() {
                batches.recycle(batch.unwrap());
            }
            println!("{:.0} images/s", images as f64 / start.elapsed().as_secs_f64());
        }
    }
}
