//! Crops, flips, cuts out and normalizes one image into a batch.

use super::augment::{Augment, Geometry};
use super::dataset::{Dataset, Pixels};
use crate::error::Result;

/// An [`Augment`] with precomputed tables for the images of one dataset.
#[derive(Debug)]
pub struct Transform {
    height: usize,
    width: usize,
    channels: usize,
    mean: Vec<f32>,
    std: Vec<f32>,
    /// `tables[channel][value]` is the normalized uint8 value.
    tables: Vec<[f32; 256]>,
    /// One row of normalized zero pixels.
    blank: Vec<f32>,
}

impl Transform {
    pub fn new(dataset: &Dataset, augment: &Augment) -> Result<Self> {
        let channels = dataset.channels();
        augment.check_sizes(dataset.height(), dataset.width())?;
        let (mean, std) = augment.mean_std(channels)?;
        let tables: Vec<[f32; 256]> = (0..channels)
            .map(|c| std::array::from_fn(|value| (value as f32 / 255.0 - mean[c]) / std[c]))
            .collect();
        let zeros = (0..channels).map(|c| (0.0 - mean[c]) / std[c]);
        let blank = zeros.cycle().take(dataset.width() * channels).collect();
        let (height, width) = (dataset.height(), dataset.width());
        Ok(Transform { height, width, channels, mean, std, tables, blank })
    }

    /// Writes image `index` to `out` (h, w, c); `dataset` is the one passed to [`Self::new`].
    pub fn apply(&self, dataset: &Dataset, index: usize, geometry: &Geometry, out: &mut [f32]) {
        let image = index * out.len()..(index + 1) * out.len();
        match dataset.pixels() {
            Pixels::U8(values) => {
                let tables = self.tables.as_slice();
                self.warp(&values[image], geometry, out, |c, value| tables[c][value as usize]);
            }
            Pixels::F32(values) => {
                let (mean, std) = (self.mean.as_slice(), self.std.as_slice());
                self.warp(&values[image], geometry, out, |c, value| (value - mean[c]) / std[c]);
            }
        }
        self.cut(geometry, out);
    }

    fn warp<T: Copy>(
        &self,
        image: &[T],
        geometry: &Geometry,
        out: &mut [f32],
        normalize: impl Fn(usize, T) -> f32 + Copy,
    ) {
        let span = Span::new(self.width, geometry.right, geometry.flip);
        // Common channel counts are passed as constants, so that the inner loop is unrolled.
        match self.channels {
            1 => self.warp_rows(1, image, geometry, &span, out, normalize),
            3 => self.warp_rows(3, image, geometry, &span, out, normalize),
            channels => self.warp_rows(channels, image, geometry, &span, out, normalize),
        }
    }

    #[inline(always)]
    fn warp_rows<T: Copy>(
        &self,
        channels: usize,
        image: &[T],
        geometry: &Geometry,
        span: &Span,
        out: &mut [f32],
        normalize: impl Fn(usize, T) -> f32,
    ) {
        let row_len = self.width * channels;
        let (start, end) = (span.start * channels, (span.start + span.len) * channels);
        for (y, row) in out.chunks_exact_mut(row_len).enumerate() {
            let source = y as isize + geometry.down;
            if source < 0 || source >= self.height as isize {
                row.copy_from_slice(&self.blank);
                continue;
            }
            row[..start].copy_from_slice(&self.blank[..start]);
            row[end..].copy_from_slice(&self.blank[end..]);
            let from = source as usize * row_len + span.source * channels;
            let pixels = image[from..from + span.len * channels].chunks_exact(channels);
            let targets = row[start..end].chunks_exact_mut(channels);
            let copy = |(target, pixel): (&mut [f32], &[T])| {
                for c in 0..channels {
                    target[c] = normalize(c, pixel[c]);
                }
            };
            if geometry.flip {
                targets.zip(pixels.rev()).for_each(copy);
            } else {
                targets.zip(pixels).for_each(copy);
            }
        }
    }

    fn cut(&self, geometry: &Geometry, out: &mut [f32]) {
        let (rows, columns) = geometry.hole.clone();
        for y in rows {
            let row = y * self.width;
            let hole = (row + columns.start) * self.channels..(row + columns.end) * self.channels;
            out[hole].fill(0.0);
        }
    }
}

/// The columns of a row that are read from the source; the others are blank.
struct Span {
    start: usize,
    len: usize,
    source: usize,
}

impl Span {
    fn new(width: usize, right: isize, flip: bool) -> Self {
        let moved = right.unsigned_abs().min(width);
        let len = width - moved;
        // A positive shift reads from column `moved` on and leaves the last columns blank, which
        // a flip makes the first ones.
        let (source, start) = if right > 0 { (moved, 0) } else { (0, moved) };
        Span { start: if flip { width - start - len } else { start }, len, source }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, pixel by pixel.
    fn naive(dataset: &Dataset, index: usize, augment: &Augment, g: &Geometry) -> Vec<f32> {
        let [_, h, w, c] = dataset.shape();
        let mut out = Vec::new();
        for y in 0..h {
            for x in 0..w {
                let column = if g.flip { w - 1 - x } else { x };
                let (sy, sx) = (y as isize + g.down, column as isize + g.right);
                let inside = sy >= 0 && sx >= 0 && sy < h as isize && sx < w as isize;
                for k in 0..c {
                    let at = ((index * h + sy.max(0) as usize) * w + sx.max(0) as usize) * c + k;
                    let value = match dataset.pixels() {
                        _ if !inside => 0.0,
                        Pixels::U8(values) => f32::from(values[at]) / 255.0,
                        Pixels::F32(values) => values[at],
                    };
                    let cut = g.hole.0.contains(&y) && g.hole.1.contains(&x);
                    out.push(if cut { 0.0 } else { (value - augment.mean[k]) / augment.std[k] });
                }
            }
        }
        out
    }

    fn dataset(shape: [usize; 4], float: bool) -> Dataset {
        let len = shape.iter().product::<usize>();
        let bytes = (0..len).map(|i| (i * 97 % 256) as u8);
        let pixels = match float {
            true => Pixels::F32(bytes.map(|b| f32::from(b) * 0.37 - 20.0).collect()),
            false => Pixels::U8(bytes.collect()),
        };
        Dataset::new(pixels, shape, vec![0; shape[0]], Some(1)).unwrap()
    }

    proptest! {
        #[test]
        fn equals_the_definition(
            (h, w, c) in (1_usize..7, 1_usize..7, 1_usize..6),
            down in -8_isize..9,
            right in -8_isize..9,
            flip: bool,
            (top, left, bottom, below) in (0_usize..8, 0_usize..8, 0_usize..8, 0_usize..8),
            float: bool,
        ) {
            let dataset = dataset([2, h, w, c], float);
            let augment = Augment {
                mean: (0..c).map(|k| 0.1 * k as f32).collect(),
                std: (0..c).map(|k| 0.3 + 0.2 * k as f32).collect(),
                ..Augment::default()
            };
            let (top, left) = (top.min(h), left.min(w));
            let hole = (top..bottom.clamp(top, h), left..below.clamp(left, w));
            let geometry = Geometry { down, right, flip, hole };
            let mut out = vec![f32::NAN; h * w * c];
            let transform = Transform::new(&dataset, &augment).unwrap();
            transform.apply(&dataset, 1, &geometry, &mut out);
            prop_assert_eq!(out, naive(&dataset, 1, &augment, &geometry));
        }
    }
}
