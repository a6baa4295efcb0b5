//! Accumulates loss and accuracies of a training in device memory.

use super::device::{Address, Arguments, Device, Number, Plain};
use super::launch::{self, Launch, THREADS};
use super::Source;
use crate::error::{Error, Result};

/// Sums since the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Metrics {
    /// The sum of the losses of all images; or a single loss that was not finite.
    pub loss: f64,
    pub images: u64,
    /// The numbers of images with a valid label, and of those with the label among the top 1 or 5.
    pub ranked: u64,
    pub top1: u64,
    pub top5: u64,
}

/// The predictions of a batch for a classification.
#[derive(Clone, Copy, Debug)]
pub struct Ranks {
    pub classes: usize,
    pub number: Number,
    /// `[batch, classes]`
    pub predictions: Address,
    /// int64, `[batch]`
    pub labels: Address,
    /// int32, `[batch]`, a work buffer.
    pub ranks: Address,
}

/// Adds a batch to the metrics.
#[derive(Clone, Copy, Debug)]
pub struct AddMetrics {
    pub batch: usize,
    /// The images of the epoch.
    pub total: usize,
    /// Whether a loss that is not finite ends the training.
    pub stops: bool,
    /// fp32: the mean loss of the batch.
    pub loss: Address,
    pub ranks: Option<Ranks>,
    /// A [`Cursor`](super::augment::Cursor).
    pub cursor: Address,
    /// [`Metrics`] on the device.
    pub metrics: Address,
}

impl AddMetrics {
    /// # Safety
    /// As for [`Device::launch`].
    pub unsafe fn launch(&self, device: &dyn Device) -> Result<()> {
        let source = Source::Metrics;
        if let Some(Ranks { classes, number, predictions, labels, ranks }) = self.ranks {
            let nothing = Error::EmptyLaunch { what: "a batch on the device" };
            let launch = launch::blocks(self.batch).filter(|_| classes > 0).ok_or(nothing)?;
            let arguments =
                Arguments::new().with(predictions).with(labels).with(classes as i32).with(ranks);
            let entry = format!("ranks_{}", number.name());
            // SAFETY: the arguments match the source; the caller guarantees the rest.
            unsafe { arguments.launch(device, source, &entry, &launch) }?;
        }
        let arguments = Arguments::new()
            .with(self.loss)
            .with(self.ranks.map_or(Address::NONE, |ranks| ranks.ranks))
            .with(self.batch as i32)
            .with(self.total as i64)
            .with(i32::from(self.stops))
            .with(self.cursor)
            .with(self.metrics);
        let launch = Launch { grid: [1; 3], block: [THREADS, 1, 1] };
        // SAFETY: as above.
        unsafe { arguments.launch(device, source, "add_metrics", &launch) }
    }
}

// SAFETY: a structure of numbers without padding.
unsafe impl Plain for Metrics {}

#[cfg(test)]
mod tests {
    use super::super::augment::Cursor;
    use super::super::host::{address, address_mut, Host};
    use super::*;

    /// Three images in batches of two: the padding of the second batch does not count.
    #[test]
    fn an_epoch_by_hand() {
        let predictions = [0.0f32, 0.5, 1.0, 3.0, 2.0, 1.0];
        let labels = [1i64, 0];
        let mut ranks = [9i32; 2];
        let (mut cursor, mut metrics) = ([Cursor::default()], [Metrics::default()]);
        let mut add = |loss: f32, batch: u64, stops: bool| {
            cursor[0].batch = batch;
            cursor[0].step = batch + 1;
            let loss = [loss];
            let add = AddMetrics {
                batch: 2,
                total: 3,
                stops,
                loss: address(&loss),
                ranks: Some(Ranks {
                    classes: 3,
                    number: Number::F32,
                    predictions: address(&predictions),
                    labels: address(&labels),
                    ranks: address_mut(&mut ranks),
                }),
                cursor: address_mut(&mut cursor),
                metrics: address_mut(&mut metrics),
            };
            // SAFETY: all have their lengths and outlive the launch.
            unsafe { add.launch(&Host::new(1)) }.unwrap();
            (metrics[0], cursor[0].failed)
        };
        let first = Metrics { loss: 3.0, images: 2, ranked: 2, top1: 1, top5: 2 };
        assert_eq!(add(1.5, 0, true), (first, 0));
        let both = Metrics { loss: 3.5, images: 3, ranked: 3, top1: 1, top5: 3 };
        assert_eq!(add(0.5, 1, true), (both, 0));
        // The infinite loss remains, and later batches change nothing.
        let (broken, step) = add(f32::INFINITY, 1, true);
        assert_eq!((broken, step), (Metrics { loss: f64::INFINITY, ..both }, 2));
        assert_eq!(add(1.0, 0, true), (broken, 2));
        assert_eq!(ranks, [1, 0]);
    }
}
