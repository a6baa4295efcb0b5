//! Reads images and labels in the IDX format of MNIST and similar data sets, gzipped or plain.
//!
//! Format: <http://yann.lecun.com/exdb/mnist/>: two zero bytes, a type (8 is ubyte), the number of
//! dimensions, each dimension as a big-endian u32, then the values.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::dataset::{Dataset, Pixels};
use crate::error::{Error, Result};
use crate::files;

/// Reads images (n, h, w) of one channel and their labels. `num_classes` is the largest label + 1
/// if it is `None`.
pub fn read(images: &Path, labels: &Path, num_classes: Option<usize>) -> Result<Dataset> {
    let (shape, pixels) = read_ubytes::<3>(images)?;
    let (_, values) = read_ubytes::<1>(labels)?;
    let labels = values.into_iter().map(i64::from).collect();
    Dataset::new(Pixels::U8(pixels), [shape[0], shape[1], shape[2], 1], labels, num_classes)
}

/// Reads a ubyte file of `D` dimensions.
fn read_ubytes<const D: usize>(path: &Path) -> Result<([usize; D], Vec<u8>)> {
    let mut file = open(path)?;
    let mut magic = [0; 4];
    read_header(path, &mut file, &mut magic)?;
    let expected = [0, 0, 8, D as u8];
    if magic != expected {
        let expected = format!("IDX ubytes of {D} dimensions (first bytes {expected:02x?})");
        return Err(damaged(path, expected, format!("first bytes {magic:02x?}")));
    }
    let mut shape = [0; D];
    for size in &mut shape {
        let mut word = [0; 4];
        read_header(path, &mut file, &mut word)?;
        *size = u32::from_be_bytes(word) as usize;
    }
    Ok((shape, read_values(path, file, &shape)?))
}

fn read_values(path: &Path, file: impl Read, shape: &[usize]) -> Result<Vec<u8>> {
    let expected = shape.iter().try_fold(1_u64, |a, &b| a.checked_mul(b as u64));
    let Some(expected) = expected.filter(|&count| count < u64::MAX) else {
        return Err(damaged(path, "a shape that fits".into(), format!("shape {shape:?}")));
    };
    // Reading one more byte shows whether the file is longer than expected. The vector grows with
    // the actual content, because a damaged header may state a huge shape.
    let mut values = Vec::new();
    let outcome = file.take(expected + 1).read_to_end(&mut values);
    let expected_text = || format!("{expected} values for its shape {shape:?}");
    if let Err(error) = outcome {
        return Err(damaged(path, expected_text(), format!("{} and then: {error}", values.len())));
    }
    match (values.len() as u64).cmp(&expected) {
        std::cmp::Ordering::Less => {
            Err(damaged(path, expected_text(), format!("{} and then its end", values.len())))
        }
        std::cmp::Ordering::Equal => Ok(values),
        std::cmp::Ordering::Greater => {
            Err(damaged(path, expected_text(), "more bytes after them".into()))
        }
    }
}

fn read_header(path: &Path, file: &mut impl Read, bytes: &mut [u8]) -> Result<()> {
    file.read_exact(bytes)
        .map_err(|error| damaged(path, "an IDX header".into(), format!("none: {error}")))
}

/// Opens a file, and decompresses it if it starts with the magic bytes of gzip.
fn open(path: &Path) -> Result<Box<dyn Read>> {
    let failed = |source| Error::Io { action: "read", path: path.display().to_string(), source };
    let mut file = BufReader::with_capacity(1 << 16, files::open(path).map_err(failed)?);
    if file.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(MultiGzDecoder::new(file)))
    } else {
        Ok(Box::new(file))
    }
}

fn damaged(path: &Path, expected: String, got: String) -> Error {
    Error::DataFile { path: path.display().to_string(), expected, got }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{write::GzEncoder, Compression};
    use proptest::prelude::*;
    use tempfile::{tempdir, TempDir};

    use super::*;

    fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        shape.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read_bytes(images: &[u8], labels: &[u8]) -> Result<Dataset> {
        let folder: TempDir = tempdir().unwrap();
        let paths = (folder.path().join("images"), folder.path().join("labels"));
        std::fs::write(&paths.0, images).unwrap();
        std::fs::write(&paths.1, labels).unwrap();
        read(&paths.0, &paths.1, None)
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        for path in [Path::new("/dev/zero"), Path::new("/")] {
            assert!(matches!(read(path, path, None), Err(Error::Io { .. })));
        }
    }

    proptest! {
        #[test]
        fn reads_what_was_written(n in 1_u32..5, h in 1_u32..5, w in 1_u32..5, zipped: bool) {
            let values: Vec<u8> = (0..n * h * w).map(|i| (i * 53 % 256) as u8).collect();
            let labels: Vec<u8> = (0..n as u8).collect();
            let (mut images, mut label_file) = (idx(&[n, h, w], &values), idx(&[n], &labels));
            if zipped {
                (images, label_file) = (gzip(&images), gzip(&label_file));
            }
            let dataset = read_bytes(&images, &label_file).unwrap();
            prop_assert_eq!(dataset.shape(), [n as usize, h as usize, w as usize, 1]);
            prop_assert_eq!(dataset.pixels(), &Pixels::U8(values));
            prop_assert_eq!(dataset.labels(), (0..i64::from(n)).collect::<Vec<_>>());
            prop_assert_eq!(dataset.num_classes(), n as usize);
        }

        #[test]
        fn any_cut_is_refused(cut in 0_usize..20, zipped: bool) {
            let whole = idx(&[1, 2, 2], &[1, 2, 3, 4]);
            let whole = if zipped { gzip(&whole) } else { whole };
            let error = read_bytes(&whole[..cut.min(whole.len() - 1)], &idx(&[1], &[0]));
            let error = error.unwrap_err().to_string();
            prop_assert!(error.contains("images must hold"), "{}", error);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let (images, labels) = (idx(&[2, 1, 2], &[1, 2, 3, 4]), idx(&[2], &[0, 1]));
        let message = |images: &[u8], labels: &[u8]| {
            let error = read_bytes(images, labels).unwrap_err().to_string();
            assert!(!error.contains('\n'));
            error
        };
        let cases = [
            (message(&labels, &labels), "images must hold IDX ubytes of 3 dimensions"),
            (message(&images[..18], &labels), "4 values for its shape [2, 1, 2], got 2 and then"),
            (message(&[&images[..], &[0]].concat(), &labels), "got more bytes after them"),
            (message(&images, &idx(&[3], &[0, 1, 2])), "expected 2, got 3"),
            (message(&idx(&[0, 1, 1], &[]), &idx(&[0], &[])), "at least one image"),
            (message(&idx(&[u32::MAX; 3], &[0; 9]), &labels), "shape [4294967295"),
        ];
        for (got, expected) in cases {
            assert!(got.contains(expected), "{got:?} lacks {expected:?}");
        }
        let missing = read(Path::new("/no/such/file"), Path::new("/no"), None).unwrap_err();
        assert!(missing.to_string().starts_with("cannot read /no/such/file"));
    }
}
