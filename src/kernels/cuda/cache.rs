//! Caches machine code on disk, because a source takes seconds to compile.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::compile::{compile, version, OPTIONS};
use super::{Architecture, Source};
use crate::error::{Error, Result};
use crate::files;

/// The machine code of a source, read from `folder` or compiled and stored there.
///
/// # Errors
/// As for [`compile`]. A folder that cannot be written is not an error.
pub fn compiled(source: Source, architecture: Architecture, folder: &Path) -> Result<Vec<u8>> {
    let compiler = version().ok_or(Error::NoNvrtc)?;
    let path = folder.join(name(source, architecture, compiler));
    if let Some(cubin) = read(&path) {
        return Ok(cubin);
    }
    let cubin = compile(source, architecture)?;
    let _ = write(&path, &cubin);
    Ok(cubin)
}

/// A larger file was not written here.
const MAX_BYTES: u64 = 64 << 20;

/// The bytes of a SHA-256 sum, which precedes the machine code in its file.
const SUM: usize = 32;

/// The machine code in a file, unless it is damaged: the driver would trust the sizes in it.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut content = files::read(path, MAX_BYTES).ok()?;
    let cubin = content.split_off(SUM.min(content.len()));
    (*content == *Sha256::digest(&cubin)).then_some(cubin)
}

/// A file name that depends on everything that determines the content.
fn name(source: Source, architecture: Architecture, compiler: (i32, i32)) -> PathBuf {
    let mut digest = Sha256::new();
    for part in [source.text(), OPTIONS.join(" "), format!("{compiler:?}")] {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    let digest: String = digest.finalize().iter().take(12).map(|b| format!("{b:02x}")).collect();
    format!("{}-{architecture}-{digest}.cubin", source.name()).into()
}

/// Writes a file atomically, because another process may read it at any time.
fn write(path: &Path, cubin: &[u8]) -> std::io::Result<()> {
    files::write(path, &[Sha256::digest(cubin).as_slice(), cubin].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOPPER: Architecture = Architecture { major: 9, minor: 0 };

    #[test]
    fn a_name_tells_all_apart() {
        let names = [
            name(Source::Augment, HOPPER, (13, 0)),
            name(Source::Augment, Architecture { major: 8, minor: 0 }, (13, 0)),
            name(Source::Augment, HOPPER, (12, 9)),
            name(Source::Optimizer, HOPPER, (13, 0)),
        ];
        for (i, a) in names.iter().enumerate() {
            assert!(names[i + 1..].iter().all(|b| a != b));
        }
        assert!(names[0].to_string_lossy().starts_with("augment-sm_90-"));
    }

    #[test]
    fn what_is_written_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("kernel.cubin");
        write(&path, b"\x7fELF cubin").unwrap();
        assert_eq!(read(&path).unwrap(), b"\x7fELF cubin");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_damaged_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel.cubin");
        assert_eq!(read(&path), None);
        assert_eq!(read(folder.path()), None);
        write(&path, b"\x7fELF cubin").unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(read(&path), None);
            let mut changed = whole.clone();
            changed[length] ^= 1;
            std::fs::write(&path, changed).unwrap();
            assert_eq!(read(&path), None);
        }
    }
}
