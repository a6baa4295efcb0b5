//! Files that are read and written as a whole.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// More links than this are a circle.
const MAX_LINKS: usize = 40;

const NOT_REGULAR: &str = "it is not a regular file";

/// Opens a regular file for reading.
///
/// # Errors
/// The file cannot be read, or is something else: reading a pipe could block, and reading a device
/// could never end.
pub fn open(path: &Path) -> io::Result<File> {
    match fs::metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(io::Error::new(ErrorKind::InvalidInput, NOT_REGULAR)),
    }
}

/// The content of a regular file with at most `most` bytes.
///
/// # Errors
/// As for [`open`], and for a larger file.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut content)?;
    match content.len() as u64 > most {
        true => Err(io::Error::new(ErrorKind::InvalidData, "the file is too large")),
        false => Ok(content),
    }
}

/// Writes a file, in a temporary one beside it that replaces it in one move. The folder is created
/// if absent. As with a plain `open`, a symbolic link is followed, a new file gets the mode that the
/// umask leaves, and a file that is replaced keeps its mode.
///
/// # Errors
/// Also for what is no regular file, such as a device or a pipe, and must not be replaced; and for a
/// link into a folder that is absent, which another program may still provide.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let found = fs::metadata(path).ok();
    match found.as_ref().map(|found| found.file_type()) {
        Some(kind) if kind.is_dir() => return Err(ErrorKind::IsADirectory.into()),
        Some(kind) if !kind.is_file() => return Err(io::Error::other(NOT_REGULAR)),
        _ => (),
    }
    let place = followed(path)?;
    let folder = match place.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if place != path && !folder.exists() {
        let reason = format!("it links to {}, whose folder does not exist", place.display());
        return Err(io::Error::other(reason));
    }
    fs::create_dir_all(folder)?;
    // Temporary files are private by default.
    let all = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(all).tempfile_in(folder)?;
    if let Some(found) = found {
        file.as_file().set_permissions(found.permissions())?;
    }
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(place)?;
    Ok(())
}

/// Where a path leads; the file at the end need not exist.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut place = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = fs::read_link(&place) else { return Ok(place) };
        place = place.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_that_is_replaced_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let (path, plain) = (folder.path().join("new").join("a"), folder.path().join("plain"));
        write(&path, b"first").unwrap();
        fs::write(&plain, b"").unwrap();
        assert_eq!(mode(&path), mode(&plain));
        fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
        write(&path, b"second").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"second".to_vec(), 0o604));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("deep")).unwrap();
        symlink("deep/b", at("a")).unwrap();
        symlink("a", at("to a")).unwrap();
        for text in ["first", "second"] {
            write(&at("to a"), text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(at("deep/b")).unwrap(), text);
        }
        assert!(fs::symlink_metadata(at("to a")).unwrap().is_symlink());
        symlink("absent/c", at("dangling")).unwrap();
        let error = write(&at("dangling"), b"").unwrap_err().to_string();
        assert!(error.contains("absent/c, whose folder does not exist"), "{error}");
        assert!(!at("absent").exists());
        symlink("circle", at("circle")).unwrap();
        assert!(write(&at("circle"), b"").unwrap_err().to_string().contains("too many"));
    }

    #[test]
    fn a_long_name_is_written_and_what_is_no_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("a".repeat(255)), b"").unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [Path::new("/dev/null"), &socket] {
            let error = write(path, b"nothing").unwrap_err();
            assert_eq!(error.to_string(), NOT_REGULAR, "{}", path.display());
        }
        let error = write(folder.path(), b"").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
    }
}
