//! Files that are read as a whole.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// The content of a regular file with at most `most` bytes.
///
/// # Errors
/// The file cannot be read, is larger, or is something else: reading a pipe could block, and
/// reading a device could never end.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "no regular file"));
    }
    let mut content = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut content)?;
    match content.len() as u64 > most {
        true => Err(io::Error::new(ErrorKind::InvalidData, "the file is too large")),
        false => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_a_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(read(&path, 9).is_err());
        fs::write(&path, b"content").unwrap();
        assert_eq!(read(&path, 7).unwrap(), b"content");
        assert!(read(&path, 6).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(!made.is_ok_and(|status| status.success()) || read(&pipe, 9).is_err());
        for path in [folder.path(), &socket, Path::new("/dev/zero"), Path::new("/dev/null")] {
            assert!(read(path, 9).is_err(), "{}", path.display());
        }
    }
}
