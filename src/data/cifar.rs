//! Reads CIFAR-10 and CIFAR-100 in their binary version.
//!
//! Format: <https://www.cs.toronto.edu/~kriz/cifar.html>: each record holds the label bytes and
//! then the red, green and blue planes of a 32x32 image.

use super::dataset::{Dataset, Pixels};
use crate::error::{Error, Result};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// The data set, which determines the label bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cifar {
    /// One label byte.
    Cifar10,
    /// A coarse label byte, which is skipped, and a fine label byte.
    Cifar100,
}

impl Cifar {
    pub fn with_classes(num_classes: usize) -> Result<Self> {
        match num_classes {
            10 => Ok(Cifar::Cifar10),
            100 => Ok(Cifar::Cifar100),
            other => Err(Error::DataSetting {
                name: "num_classes",
                expected: "10 or 100 for CIFAR".to_string(),
                got: other.to_string(),
            }),
        }
    }

    pub fn num_classes(self) -> usize {
        match self {
            Cifar::Cifar10 => 10,
            Cifar::Cifar100 => 100,
        }
    }

    fn label_bytes(self) -> usize {
        match self {
            Cifar::Cifar10 => 1,
            Cifar::Cifar100 => 2,
        }
    }
}

/// Parses the records of several files, in order, given as names, which errors mention, and contents.
pub fn parse(files: &[(String, &[u8])], kind: Cifar) -> Result<Dataset> {
    let mut records = Records::default();
    for (name, bytes) in files {
        records.add(name, bytes, kind)?;
    }
    records.finish(kind)
}

#[derive(Default)]
struct Records {
    pixels: Vec<u8>,
    labels: Vec<i64>,
}

impl Records {
    fn add(&mut self, name: &str, bytes: &[u8], kind: Cifar) -> Result<()> {
        let skip = kind.label_bytes();
        let size = skip + 3 * PLANE;
        if bytes.is_empty() || !bytes.len().is_multiple_of(size) {
            return Err(Error::DataFile {
                path: name.to_string(),
                expected: format!("whole records of {size} bytes"),
                got: format!("{} bytes", bytes.len()),
            });
        }
        self.pixels.reserve(bytes.len() / size * 3 * PLANE);
        for record in bytes.chunks_exact(size) {
            let (labels, planes) = record.split_at(skip);
            let label = labels[skip - 1];
            if usize::from(label) >= kind.num_classes() {
                return Err(Error::DataFile {
                    path: name.to_string(),
                    expected: format!("labels in 0..{}", kind.num_classes()),
                    got: label.to_string(),
                });
            }
            self.labels.push(i64::from(label));
            let interleaved = (0..PLANE).flat_map(|i| [0, 1, 2].map(|c| planes[c * PLANE + i]));
            self.pixels.extend(interleaved);
        }
        Ok(())
    }

    fn finish(self, kind: Cifar) -> Result<Dataset> {
        let shape = [self.labels.len(), SIDE, SIDE, 3];
        Dataset::new(Pixels::U8(self.pixels), shape, self.labels, Some(kind.num_classes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(labels: &[u8], start: usize) -> Vec<u8> {
        let planes = (0..3 * PLANE).map(|i| ((start + i * 31) % 256) as u8);
        labels.iter().copied().chain(planes).collect()
    }

    fn check(kind: Cifar, files: &[Vec<u8>], labels: &[i64]) {
        let named: Vec<(String, &[u8])> =
            files.iter().map(|bytes| ("x".to_string(), &bytes[..])).collect();
        let dataset = parse(&named, kind).unwrap();
        assert_eq!(dataset.labels(), labels);
        assert_eq!(dataset.num_classes(), kind.num_classes());
        assert_eq!(dataset.shape(), [labels.len(), 32, 32, 3]);
        let Pixels::U8(pixels) = dataset.pixels() else { panic!("uint8") };
        let skip = kind.label_bytes();
        let all = files.concat();
        let size = skip + 3 * PLANE;
        for (n, y, x, c) in [(0, 0, 0, 0), (0, 31, 5, 2), (1, 7, 30, 1), (2, 16, 0, 2)] {
            let expected = all[n * size + skip + c * PLANE + y * SIDE + x];
            assert_eq!(pixels[((n * SIDE + y) * SIDE + x) * 3 + c], expected);
        }
    }

    #[test]
    fn reads_both_kinds() {
        let ten = [[record(&[9], 1), record(&[0], 2)].concat(), record(&[4], 3)];
        check(Cifar::Cifar10, &ten, &[9, 0, 4]);
        let hundred = [[record(&[19, 99], 1), record(&[3, 0], 2)].concat(), record(&[0, 42], 3)];
        check(Cifar::Cifar100, &hundred, &[99, 0, 42]);
    }

    #[test]
    fn says_what_is_wrong() {
        let message = |bytes: &[u8]| {
            parse(&[("test.bin".to_string(), bytes)], Cifar::Cifar10).unwrap_err().to_string()
        };
        let whole = record(&[1], 0);
        assert!(message(&whole[..3000])
            .contains("test.bin must hold whole records of 3073 bytes, got 3000 bytes"));
        assert!(message(&[]).contains("got 0 bytes"));
        assert!(message(&record(&[10], 0)).contains("labels in 0..10, got 10"));
        assert!(parse(&[], Cifar::Cifar100).unwrap_err().to_string().contains("at least one"));
        assert_eq!(Cifar::with_classes(100).unwrap(), Cifar::Cifar100);
        assert!(Cifar::with_classes(20).unwrap_err().to_string().contains("got 20"));
    }
}
