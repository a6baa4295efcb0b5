//! Makes a batch from a data set in device memory.

use super::device::{Address, Arguments, Device, Number, Plain};
use super::launch;
use super::Source;
use crate::error::{Error, Result};

/// Images and labels in device memory, and the order of an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Data {
    /// `[images, height, width, channels]`; uint8, or fp32 with `is_u8` false.
    pub images: Address,
    pub is_u8: bool,
    /// int64, `[images]`
    pub labels: Address,
    /// int64: the images of an epoch, in order.
    pub order: Address,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// fp32, `[channels]`, with uint8 images scaled to 0..=1.
    pub mean: Address,
    pub std: Address,
}

/// The settings of the augmentation, see `data::Augment`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Settings {
    pub pad: i32,
    /// 0 or 1
    pub flip: i32,
    pub cutout: i32,
}

/// The batch at the position of the cursor.
#[derive(Clone, Copy, Debug)]
pub struct Augment {
    pub data: Data,
    pub settings: Settings,
    pub seed: u64,
    /// A [`Cursor`] on the device.
    pub cursor: Address,
    pub batch: usize,
    /// The images of an epoch; the last batch is padded with ignored labels.
    pub total: usize,
    pub number: Number,
    /// `[batch, height, width, channels]`
    pub out: Address,
    /// int64, `[batch]`
    pub out_labels: Address,
}

/// The position of a training, in device memory, so that a captured step can be replayed for every
/// batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Cursor {
    pub epoch: u64,
    /// The number of finished batches of the epoch.
    pub batch: u64,
    /// The number of the optimizer's step, from 1.
    pub step: u64,
    /// The first step with a loss that was not finite, after which no kernel changes the state any
    /// more; 0 if there is none.
    pub failed: u64,
}

impl Augment {
    /// # Safety
    /// As for [`Device::launch`]; the order has `total` images.
    pub unsafe fn launch(&self, device: &dyn Device) -> Result<()> {
        let Data { height, width, channels, .. } = self.data;
        let pixels = self.batch * height * width;
        let nothing = Error::EmptyLaunch { what: "a batch on the device" };
        let launch = launch::elements(pixels).ok_or(nothing)?;
        let source = if self.data.is_u8 { "u8" } else { "float" };
        let unit: f32 = if self.data.is_u8 { 255.0 } else { 1.0 };
        let arguments = Arguments::new()
            .with(self.data.images)
            .with(self.data.labels)
            .with(self.data.order)
            .with(self.cursor)
            .with(self.seed)
            .with(self.batch as i32)
            .with(self.total as i64)
            .with(height as i32)
            .with(width as i32)
            .with(channels as i32)
            .with(unit)
            .with(self.data.mean)
            .with(self.data.std)
            .with(self.settings)
            .with(self.out)
            .with(self.out_labels);
        let entry = format!("augment_{source}_{}", self.number.name());
        // SAFETY: the arguments match the source; the caller guarantees the rest.
        unsafe { arguments.launch(device, Source::Augment, &entry, &launch) }
    }
}

/// Advances a cursor to the next batch.
///
/// # Safety
/// As for [`Device::launch`].
pub unsafe fn advance(device: &dyn Device, cursor: Address) -> Result<()> {
    let launch = launch::Launch { grid: [1; 3], block: [32, 1, 1] };
    let arguments = Arguments::new().with(cursor);
    // SAFETY: as above.
    unsafe { arguments.launch(device, Source::Augment, "advance_cursor", &launch) }
}

// SAFETY: a structure of numbers without padding.
unsafe impl Plain for Cursor {}

#[cfg(test)]
mod tests {
    use super::super::host::{address, address_mut, Host};
    use super::*;

    /// Tests a batch without augmentation; `tests/python/kernels` compares the augmentation with the
    /// loader.
    #[test]
    fn batches_follow_the_order() {
        let (count, height, width, channels) = (5, 2, 3, 3);
        let size = height * width * channels;
        let images: Vec<u8> = (0..count * size).map(|i| (i * 7 % 256) as u8).collect();
        let labels: Vec<i64> = (0..count as i64).map(|i| i * 10).collect();
        let order = [4i64, 0, 2, 1, 3];
        let (mean, std) = ([0.5f32, 0.25, 0.0], [0.5f32, 1.0, 2.0]);
        let mut cursor = [Cursor { epoch: 3, step: 1, ..Cursor::default() }];
        let device = Host::new(1);
        // An epoch has three images: the second batch contains one.
        for first in [0, 2] {
            let (mut out, mut out_labels) = (vec![f32::NAN; 2 * size], vec![-1i64; 2]);
            let augment = Augment {
                data: Data {
                    images: address(&images),
                    is_u8: true,
                    labels: address(&labels),
                    order: address(&order),
                    height,
                    width,
                    channels,
                    mean: address(&mean),
                    std: address(&std),
                },
                settings: Settings::default(),
                seed: 1,
                cursor: address(&cursor),
                batch: 2,
                total: 3,
                number: Number::F32,
                out: address_mut(&mut out),
                out_labels: address_mut(&mut out_labels),
            };
            // SAFETY: all slices have their lengths and outlive the launch.
            unsafe { augment.launch(&device) }.unwrap();
            for (i, value) in out.iter().enumerate() {
                let place = first + i / size;
                let image = order[if place < 3 { place } else { 0 }] as usize;
                let (pixel, c) = (images[image * size + i % size], i % channels);
                assert_eq!(*value, (f32::from(pixel) / 255.0 - mean[c]) / std[c]);
            }
            let second = if first == 0 { order[1] * 10 } else { -100 };
            assert_eq!(out_labels, [order[first] * 10, second]);
            // SAFETY: as above.
            unsafe { advance(&device, address_mut(&mut cursor)) }.unwrap();
        }
        assert_eq!(cursor, [Cursor { epoch: 3, batch: 2, step: 3, failed: 0 }]);
    }
}
