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
    // files
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: String, source: std::io::Error },

    // optim
    #[error("{name} must be {expected}, got {value}")]
    Setting { name: &'static str, expected: &'static str, value: f64 },
    #[error(
        "nesterov needs momentum > 0 and dampening 0, got momentum {momentum} and dampening \
         {dampening}; set them so or turn nesterov off"
    )]
    Nesterov { momentum: f64, dampening: f64 },
    #[error(
        "{optimizer} keeps {expected} state buffers a parameter here, got {got}; give one for each \
         of state_names()"
    )]
    StateCount { optimizer: &'static str, expected: usize, got: usize },
    #[error("{name} must have {expected} elements like the parameter, got {got}")]
    StateLength { name: &'static str, expected: usize, got: usize },
    #[error("a schedule needs at least one step, got {total_steps}; train for at least one")]
    NoSteps { total_steps: u64 },
    #[error(
        "warmup must be shorter than the {total_steps} steps of the training, got {steps}; shorten \
         it or train longer"
    )]
    WarmupLength { steps: u64, total_steps: u64 },
    #[error(
        "the schedule's {name} is given in epochs; call in_steps(steps_per_epoch) before training"
    )]
    ScheduleUnit { name: &'static str },

    // kernels
    #[error("batch norm needs at least one row and one channel, got {rows} rows of {channels}")]
    EmptyBatchNorm { rows: usize, channels: usize },
    #[error("{name} must have {expected} elements, got {got}; pass slices of one shape")]
    SliceLength { name: &'static str, expected: usize, got: usize },
    #[error(
        "training batch norm needs more than one value per channel, got {rows}; use a larger batch \
         or evaluation mode"
    )]
    SingleValue { rows: usize },
    #[error("the thread pool ran {got} of {expected} tasks; the results are incomplete")]
    TasksLost { expected: usize, got: usize },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn kind(&self) -> Kind {
        match self {
            Error::Io { .. } => Kind::Io,

            // optim
            Error::Setting { .. }
            | Error::Nesterov { .. }
            | Error::StateCount { .. }
            | Error::StateLength { .. }
            | Error::NoSteps { .. }
            | Error::WarmupLength { .. }
            | Error::ScheduleUnit { .. } => Kind::Value,

            // kernels
            Error::EmptyBatchNorm { .. }
            | Error::SliceLength { .. }
            | Error::SingleValue { .. } => Kind::Value,
            Error::TasksLost { .. } => Kind::Runtime,
        }
    }
}
