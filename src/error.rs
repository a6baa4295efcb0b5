//! One error type for the crate; every message lives here.
//!
//! A message says what was expected, what came and what to do.

/// What the caller can do about an error; the Python bindings choose the exception by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller's input is wrong: `ValueError`.
    Value,
    /// A file could not be read or written: `OSError`.
    Io,
    /// The operation failed while running: `RuntimeError`.
    Runtime,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    // program
    #[error(
        "the captured graph cannot be read: {0}; this is a fault of proprelu, please report it"
    )]
    Capture(String),

    // files
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: String, source: std::io::Error },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn kind(&self) -> Kind {
        match self {
            Error::Io { .. } => Kind::Io,
            Error::Capture(_) => Kind::Runtime,
        }
    }
}
