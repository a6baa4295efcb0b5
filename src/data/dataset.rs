//! Labeled images of one size, held in memory.

use crate::error::{Error, Result};

/// Pixel values in NHWC order.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// Values 0..=255, which are scaled to 0..=1.
    U8(Vec<u8>),
    /// Values in any unit, which are not scaled.
    F32(Vec<f32>),
}

impl Pixels {
    pub fn len(&self) -> usize {
        match self {
            Pixels::U8(values) => values.len(),
            Pixels::F32(values) => values.len(),
        }
    }

    pub fn nbytes(&self) -> usize {
        match self {
            Pixels::U8(values) => size_of_val(values.as_slice()),
            Pixels::F32(values) => size_of_val(values.as_slice()),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Mean and standard deviation of each channel, with uint8 images scaled to 0..=1.
pub type MeanStd = (Vec<f32>, Vec<f32>);

/// Images, their labels and the number of classes. The constructor checks that they match.
#[derive(Clone, Debug)]
pub struct Dataset {
    pixels: Pixels,
    labels: Vec<i64>,
    height: usize,
    width: usize,
    channels: usize,
    num_classes: usize,
    given: Option<MeanStd>,
}

impl Dataset {
    /// `shape` is (n, h, w, c), and labels are below `num_classes`. A `num_classes` of `None` is the
    /// largest label + 1. Labels below 0 are left to the loss, which ignores some of them.
    pub fn new(
        pixels: Pixels,
        shape: [usize; 4],
        labels: Vec<i64>,
        num_classes: Option<usize>,
    ) -> Result<Self> {
        let [images, height, width, channels] = shape;
        let Some(count) = shape.iter().try_fold(1_usize, |a, &b| a.checked_mul(b)) else {
            return Err(Error::PixelCount { shape, got: pixels.len() });
        };
        if count == 0 {
            return Err(Error::EmptyData { shape });
        }
        if pixels.len() != count {
            return Err(Error::PixelCount { shape, got: pixels.len() });
        }
        if labels.len() != images {
            return Err(Error::LabelCount { images, labels: labels.len() });
        }
        let num_classes = num_classes.unwrap_or_else(|| count_classes(&labels));
        let is_outside = |label: &i64| usize::try_from(*label).is_ok_and(|l| l >= num_classes);
        if let Some(index) = labels.iter().position(is_outside) {
            return Err(Error::LabelRange { label: labels[index], index, num_classes });
        }
        Ok(Dataset { pixels, labels, height, width, channels, num_classes, given: None })
    }

    /// Sets the mean and standard deviation that [`Self::mean_std`] returns, instead of computing
    /// them.
    pub fn with_mean_std(mut self, mean: Vec<f32>, std: Vec<f32>) -> Result<Self> {
        check_mean_std(&mean, &std, self.channels)?;
        self.given = Some((mean, std));
        Ok(self)
    }

    /// The images at `indices`, in that order; repeats are allowed, and negative indices count from
    /// the end.
    pub fn subset(&self, indices: &[isize]) -> Result<Self> {
        let num_images = self.num_images();
        let from_start = |&index: &isize| {
            let counted = if index < 0 { index + num_images as isize } else { index };
            let known = usize::try_from(counted).ok().filter(|&counted| counted < num_images);
            known.ok_or(Error::ImageIndex { index, num_images })
        };
        let indices = &*indices.iter().map(from_start).collect::<Result<Vec<usize>>>()?;
        let size = self.image_len();
        let pixels = match &self.pixels {
            Pixels::U8(values) => Pixels::U8(gather(values, indices, size)),
            Pixels::F32(values) => Pixels::F32(gather(values, indices, size)),
        };
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        let shape = [indices.len(), self.height, self.width, self.channels];
        let mut subset = Dataset::new(pixels, shape, labels, Some(self.num_classes))?;
        subset.given.clone_from(&self.given);
        Ok(subset)
    }

    /// Mean and (population) standard deviation of each channel: those that were set, or computed.
    ///
    /// uint8 images are scaled to 0..=1. The standard deviation of a constant channel is returned
    /// as 1, so that it is safe to divide by it.
    pub fn mean_std(&self) -> MeanStd {
        match (&self.given, &self.pixels) {
            (Some(given), _) => given.clone(),
            (None, Pixels::U8(values)) => self.measure(values, |value| f64::from(value) / 255.0),
            (None, Pixels::F32(values)) => self.measure(values, f64::from),
        }
    }

    /// Accumulates differences from the first value of each channel, so that a constant channel
    /// has a deviation of exactly 0, and a large offset loses no precision.
    fn measure<T: Copy>(&self, values: &[T], read: impl Fn(T) -> f64) -> MeanStd {
        let channels = self.channels;
        let count = (values.len() / channels) as f64;
        let origin: Vec<f64> = values[..channels].iter().map(|&value| read(value)).collect();
        let mut sums = vec![(0.0, 0.0); channels];
        for pixel in values.chunks_exact(channels) {
            for ((sum, &value), origin) in sums.iter_mut().zip(pixel).zip(&origin) {
                let offset = read(value) - origin;
                *sum = (sum.0 + offset, sum.1 + offset * offset);
            }
        }
        let statistics = sums.iter().zip(&origin).map(|(&(sum, squares), origin)| {
            let mean = sum / count;
            let deviation = (squares / count - mean * mean).max(0.0).sqrt() as f32;
            ((origin + mean) as f32, if deviation > 0.0 { deviation } else { 1.0 })
        });
        statistics.unzip()
    }

    /// The mean and standard deviation that were set.
    pub fn stated_mean_std(&self) -> Option<&MeanStd> {
        self.given.as_ref()
    }

    pub fn pixels(&self) -> &Pixels {
        &self.pixels
    }

    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    pub fn num_images(&self) -> usize {
        self.labels.len()
    }

    pub fn height(&self) -> usize {
        self.height
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn channels(&self) -> usize {
        self.channels
    }

    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// The shape (n, h, w, c).
    pub fn shape(&self) -> [usize; 4] {
        [self.num_images(), self.height, self.width, self.channels]
    }

    /// The number of values in one image.
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }
}

/// Checks that there is one mean and one positive standard deviation for each channel.
pub(super) fn check_mean_std(mean: &[f32], std: &[f32], channels: usize) -> Result<()> {
    for (name, values) in [("mean", mean), ("std", std)] {
        if values.len() != channels {
            let expected = format!("one number for each of the {channels} channels");
            return Err(Error::DataSetting { name, expected, got: format!("{values:?}") });
        }
    }
    if !mean.iter().all(|value| value.is_finite()) {
        let (expected, got) = ("finite in every channel".into(), format!("{mean:?}"));
        return Err(Error::DataSetting { name: "mean", expected, got });
    }
    if !std.iter().all(|value| value.is_finite() && *value > 0.0) {
        let (expected, got) = ("finite and positive in every channel".into(), format!("{std:?}"));
        return Err(Error::DataSetting { name: "std", expected, got });
    }
    Ok(())
}

fn count_classes(labels: &[i64]) -> usize {
    let largest = labels.iter().copied().max().unwrap_or(0).max(0);
    // Saturates, so that a label of i64::MAX is rejected as out of range instead of wrapping.
    usize::try_from(largest).unwrap_or(usize::MAX).saturating_add(1)
}

fn gather<T: Copy>(values: &[T], indices: &[usize], size: usize) -> Vec<T> {
    let mut gathered = Vec::with_capacity(indices.len() * size);
    for &index in indices {
        gathered.extend_from_slice(&values[index * size..(index + 1) * size]);
    }
    gathered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: usize, h: usize, w: usize, c: usize) -> Dataset {
        let pixels = (0..n * h * w * c).map(|i| (i * 37 % 251) as u8).collect();
        let labels = (0..n as i64).map(|i| i % 3).collect();
        Dataset::new(Pixels::U8(pixels), [n, h, w, c], labels, Some(3)).unwrap()
    }

    fn message(shape: [usize; 4], pixels: usize, labels: Vec<i64>) -> String {
        let pixels = Pixels::U8(vec![0; pixels]);
        Dataset::new(pixels, shape, labels, Some(3)).unwrap_err().to_string()
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert!(message([0, 2, 2, 1], 0, vec![]).contains("at least one image"));
        assert!(message([1, 0, 2, 1], 0, vec![0]).contains("at least one image"));
        assert!(message([2, 2, 2, 1], 7, vec![0, 1]).contains("got 7"));
        assert!(message([2, 2, 2, 1], 8, vec![0]).contains("expected 2, got 1"));
        assert!(message([2, 1, 1, 1], 2, vec![0, 3]).contains("from 0 to 2, got 3 at index 1"));
        assert!(message([usize::MAX, 2, 2, 2], 1, vec![0]).contains("got 1"));
    }

    #[test]
    fn counts_the_classes_when_not_told() {
        let pixels = Pixels::U8(vec![0; 3]);
        let dataset = Dataset::new(pixels, [3, 1, 1, 1], vec![0, 6, 2], None).unwrap();
        assert_eq!(dataset.num_classes(), 7);
        let ignored = Dataset::new(Pixels::U8(vec![0; 2]), [2, 1, 1, 1], vec![-100, 2], None);
        assert_eq!(ignored.unwrap().num_classes(), 3);
    }

    #[test]
    fn a_subset_copies_the_chosen_images() {
        let dataset = numbered(5, 2, 3, 2);
        let subset = dataset.subset(&[4, 0, 4]).unwrap();
        let (Pixels::U8(all), Pixels::U8(some)) = (dataset.pixels(), subset.pixels()) else {
            panic!("uint8 stays uint8");
        };
        assert_eq!(subset.shape(), [3, 2, 3, 2]);
        assert_eq!(subset.labels(), [1, 0, 1]);
        assert_eq!(some[..12], all[48..60]);
        assert_eq!(some[12..24], all[..12]);
        assert_eq!(dataset.subset(&[-1, -5]).unwrap().labels(), [1, 0]);
        assert!(dataset.subset(&[5]).unwrap_err().to_string().contains("got 5"));
        assert!(dataset.subset(&[-6]).unwrap_err().to_string().contains("from -5 to 4, got -6"));
        assert!(dataset.subset(&[]).is_err());
    }

    #[test]
    fn mean_and_deviation_agree_with_the_definition() {
        let dataset = numbered(7, 3, 5, 3);
        let Pixels::U8(values) = dataset.pixels() else { panic!("uint8") };
        let (mean, std) = dataset.mean_std();
        for channel in 0..3 {
            let column: Vec<f64> =
                values.iter().skip(channel).step_by(3).map(|&v| f64::from(v) / 255.0).collect();
            let average = column.iter().sum::<f64>() / column.len() as f64;
            let square = column.iter().map(|v| v * v).sum::<f64>() / column.len() as f64;
            assert!((f64::from(mean[channel]) - average).abs() < 1e-6);
            assert!((f64::from(std[channel]) - (square - average * average).sqrt()).abs() < 1e-6);
        }
    }

    #[test]
    fn a_constant_channel_has_deviation_one_and_a_large_offset_loses_nothing() {
        let constant = Dataset::new(Pixels::U8(vec![51; 8]), [2, 2, 2, 1], vec![0, 0], None);
        assert_eq!(constant.unwrap().mean_std(), (vec![0.2], vec![1.0]));
        let offset = Pixels::F32(vec![1e6 + 1.0, 1e6 - 1.0]);
        let offset = Dataset::new(offset, [2, 1, 1, 1], vec![0, 0], None).unwrap();
        assert_eq!(offset.mean_std(), (vec![1e6], vec![1.0]));
    }

    #[test]
    fn stated_statistics_are_kept_and_checked() {
        let stated = numbered(4, 1, 1, 1).with_mean_std(vec![0.5], vec![0.25]).unwrap();
        assert_eq!(stated.mean_std(), (vec![0.5], vec![0.25]));
        assert_eq!(stated.subset(&[1]).unwrap().mean_std(), (vec![0.5], vec![0.25]));
        for (mean, std) in
            [(vec![], vec![1.0]), (vec![0.0], vec![0.0]), (vec![f32::NAN], vec![1.0])]
        {
            assert!(numbered(1, 1, 1, 1).with_mean_std(mean, std).is_err());
        }
    }
}
