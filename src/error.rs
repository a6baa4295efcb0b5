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
    // ratio
    #[error(
        "ratio must have convs >= relus >= 1, got {got:?}; \
         write it as \"convs:relus\", for example \"2:1\""
    )]
    Ratio { got: String },
    #[error(
        "placement must be last, first, even, front, back or block_last, got {got:?}; \
         or give a mask with one boolean for each site"
    )]
    Placement { got: String },
    #[error(
        "a mask must have one boolean for each of the {sites} sites, got {mask}; \
         plan_for(model, \"1:1\") lists the sites"
    )]
    MaskLength { sites: usize, mask: usize },
    #[error(
        "placement block_last needs residual blocks, got sites outside any; \
         take another placement, for example \"last\""
    )]
    NoBlocks,

    // files
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: String, source: std::io::Error },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn kind(&self) -> Kind {
        match self {
            Error::Ratio { .. }
            | Error::Placement { .. }
            | Error::MaskLength { .. }
            | Error::NoBlocks => Kind::Value,
            Error::Io { .. } => Kind::Io,
        }
    }
}
