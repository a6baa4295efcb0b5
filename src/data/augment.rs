//! The augmentation of images, and the random draws for one image.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::dataset::check_mean_std;
use super::rng::{below, Philox, Stream};
use crate::error::{Error, Result};

/// The augmentation of images: pad and crop, flip, cut out, normalize, in this order.
///
/// Cutout: DeVries and Taylor, arXiv 1708.04552.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// The zero pixels added on each side before a random crop back to the size of the image.
    pub pad: usize,
    /// Mirror left to right with probability 1/2.
    pub flip: bool,
    /// The side of a square around a random pixel, clipped to the image, that is set to 0 after
    /// normalizing, which is the mean.
    pub cutout: usize,
    /// The mean that is subtracted from each channel; empty for 0.
    pub mean: Vec<f32>,
    /// The standard deviation by which each channel is divided; empty for 1.
    pub std: Vec<f32>,
}

impl Augment {
    /// The same normalization without random changes, for validation and test images.
    pub fn evaluation(&self) -> Self {
        Augment { mean: self.mean.clone(), std: self.std.clone(), ..Augment::default() }
    }

    /// Checks the sizes against the height and width of the images.
    pub(super) fn check_sizes(&self, height: usize, width: usize) -> Result<()> {
        let most = height.max(width);
        for (name, size) in [("pad", self.pad), ("cutout", self.cutout)] {
            if size > most {
                let expected = format!("in 0..={most} for images of {height}x{width}");
                return Err(Error::DataSetting { name, expected, got: size.to_string() });
            }
        }
        Ok(())
    }

    /// The mean and standard deviation of each channel, with defaults for empty vectors.
    pub(super) fn mean_std(&self, channels: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let fill = |values: &[f32], default: f32| match values {
            [] => vec![default; channels],
            values => values.to_vec(),
        };
        let (mean, std) = (fill(&self.mean, 0.0), fill(&self.std, 1.0));
        check_mean_std(&mean, &std, channels)?;
        Ok((mean, std))
    }
}

/// The random draws for one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Geometry {
    /// Before the flip, the pixel at (y, x) of the result is that at (y + down, x + right) of the
    /// source.
    pub down: isize,
    pub right: isize,
    pub flip: bool,
    /// Rows and columns of the result that are cut out.
    pub hole: (Range<usize>, Range<usize>),
}

impl Geometry {
    /// Draws for image `index` of the dataset in `epoch`; the result depends on nothing else.
    pub fn draw(
        augment: &Augment,
        (height, width): (usize, usize),
        rng: &Philox,
        epoch: u64,
        index: usize,
    ) -> Self {
        let mut geometry = Geometry::default();
        if augment.pad > 0 || augment.flip {
            let [down, right, flip, _] = rng.words(Stream::Augment, epoch, index, 0);
            let shift = |word| below(word, 2 * augment.pad + 1) as isize - augment.pad as isize;
            (geometry.down, geometry.right) = (shift(down), shift(right));
            geometry.flip = augment.flip && flip >> 31 == 1;
        }
        if augment.cutout > 0 {
            let [row, column, ..] = rng.words(Stream::Augment, epoch, index, 1);
            let side = |word, size| {
                let center = below(word, size);
                let start = center.saturating_sub(augment.cutout / 2);
                let end = center + augment.cutout - augment.cutout / 2;
                start..end.min(size)
            };
            geometry.hole = (side(row, height), side(column, width));
        }
        geometry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_travel_as_json_and_default_to_nothing() {
        let augment: Augment = serde_json::from_str(r#"{"pad": 4, "flip": true}"#).unwrap();
        assert_eq!(augment, Augment { pad: 4, flip: true, ..Augment::default() });
        let text = serde_json::to_string(&augment).unwrap();
        assert_eq!(serde_json::from_str::<Augment>(&text).unwrap(), augment);
        assert!(serde_json::from_str::<Augment>(r#"{"padding": 4}"#).is_err());
    }

    #[test]
    fn mean_and_deviation_must_fit_the_channels() {
        let augment = Augment { mean: vec![0.5; 2], std: vec![1.0; 2], ..Augment::default() };
        assert!(augment.mean_std(2).is_ok());
        let error = augment.mean_std(3).unwrap_err().to_string();
        assert!(error.contains("each of the 3 channels"), "{error}");
        assert_eq!(Augment::default().mean_std(2).unwrap(), (vec![0.0; 2], vec![1.0; 2]));
    }

    fn draws(augment: &Augment, count: usize) -> Vec<Geometry> {
        let rng = Philox::new(17);
        (0..count).map(|i| Geometry::draw(augment, (8, 6), &rng, 2, i)).collect()
    }

    #[test]
    fn crops_and_flips_are_uniform() {
        let augment = Augment { pad: 2, flip: true, ..Augment::default() };
        let mut counts = [0_i32; 50];
        for draw in draws(&augment, 50_000) {
            let cell = (draw.down + 2) * 10 + (draw.right + 2) * 2 + isize::from(draw.flip);
            counts[cell as usize] += 1;
        }
        // 1,000 expected, standard deviation 31.
        assert!(counts.iter().all(|count| (count - 1_000).abs() < 160), "{counts:?}");
    }

    #[test]
    fn holes_are_centered_uniformly_and_clipped() {
        let augment = Augment { cutout: 3, ..Augment::default() };
        let mut rows = [0_i32; 8];
        for Geometry { hole: (row, column), .. } in draws(&augment, 8_000) {
            assert!(row.end <= 8 && column.end <= 6);
            assert!((2..=3).contains(&row.len()) && (2..=3).contains(&column.len()));
            row.for_each(|y| rows[y] += 1);
        }
        // Each of 8 centers covers itself and its neighbors.
        assert!((rows[0] - 2_000).abs() < 300 && (rows[4] - 3_000).abs() < 300, "{rows:?}");
    }

    #[test]
    fn nothing_asked_is_nothing_done() {
        assert!(draws(&Augment::default(), 20).iter().all(|draw| *draw == Geometry::default()));
        let cutout_only = draws(&Augment { cutout: 40, ..Augment::default() }, 20);
        assert!(cutout_only.iter().all(|draw| draw.hole == (0..8, 0..6)));
    }
}
