//! One error type for the crate; every message lives here.
//!
//! A message says what was expected, what the caller passed and what to do.

/// The kind of an error, from which the Python bindings choose the exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller's input is invalid: `ValueError`.
    Value,
    /// A file could not be read or written: `OSError`.
    Io,
    /// A number is no longer finite: `FloatingPointError`.
    Arithmetic,
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

    // engine
    #[error("torch: {0}")]
    Torch(String),
    #[error("torch could not run {name}; see torch's own message on the error stream above")]
    TorchCall { name: String },
    #[error("a kernel needs {expected}, dense in memory, got {got}")]
    TensorMemory { expected: String, got: String },
    #[error("{name} must have the shape that was captured, {expected:?}, got {got:?}; make every image and batch of one size")]
    InputShape { name: String, expected: Vec<i64>, got: Vec<i64> },

    // CUDA
    #[error("CUDA's compiler, libnvrtc, was not found; it comes with a CUDA build of torch, or with pip install nvidia-cuda-nvrtc")]
    NoNvrtc,
    #[error(
        "CUDA's driver, libcuda, was not found: install NVIDIA's driver, or use device=\"cpu\""
    )]
    NoCudaDriver,
    #[error("a GPU must be {oldest} or newer, got {got}; use device=\"cpu\"")]
    OldGpu { oldest: String, got: String },
    #[error("CUDA: {0}")]
    Cuda(String),
    #[error("{what} is empty or larger than a CUDA grid")]
    EmptyLaunch { what: &'static str },
    #[error("the CUDA kernels {name} do not compile for {architecture}: {log}")]
    CudaCompile { name: &'static str, architecture: String, log: String },

    // cpu
    #[error("{variable} must be {expected}, got {got:?}")]
    CpuSetting { variable: &'static str, expected: String, got: String },
    #[error("convolutions with AMX need bf16, and a processor and a system that permit it; proprelu doctor shows what is missing; use conv_algorithm=\"auto\"")]
    NoTiles,

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
    #[error("an order must name each of the {sites} sites once, by its number from 0")]
    Order { sites: usize },

    // train
    #[error("parameter {name} must be dense float32 memory, got {got}; call model.float(), and ask for bf16 by precision=\"bf16\"")]
    ParameterMemory { name: String, got: String },
    #[error("the loss became {loss} in step {step} (epoch {epoch}); the last checkpoint is kept: resume from it with a lower learning rate, a warmup or clip_grad_norm")]
    NonFiniteLoss { loss: f64, step: u64, epoch: u64 },
    #[error("an epoch has no batch; give at least as many images as batch_size, or a smaller batch_size")]
    NoBatches,
    #[error(
        "checkpoint {path} cannot be used: {reason}; it is damaged or no checkpoint; use another one"
    )]
    DamagedCheckpoint { path: String, reason: String },
    #[error("checkpoint {path} has the format of an older version, which cannot be continued; proprelu.load_weights(model, path) still reads its weights")]
    OldCheckpoint { path: String },
    #[error("checkpoint {path} is of another model or optimizer: {reason}; build the model and optimizer that it was saved with")]
    OtherCheckpoint { path: String, reason: String },
    #[error("a batch needs one label for each image, got images of shape {images:?} and labels of shape {labels:?}; check what the data loader yields")]
    BatchCounts { images: Vec<i64>, labels: Vec<i64> },
    #[error("labels must be from 0 to {}, for the {outputs} outputs of the model, got {label}; number the classes from 0, build the model with more outputs, or pass a loss that ignores {label}, as nn.CrossEntropyLoss(ignore_index={label})", outputs.saturating_sub(1))]
    LabelOutputs { label: i64, outputs: usize },
    #[error("labels must be finite numbers, got NaN or infinity in a batch; clean the labels, or leave those images out")]
    LabelsNotFinite,
    #[error("each batch needs a label that the loss counts, got a batch in which it leaves out every one (ignore_index, or a class of weight 0); drop images without labels, or use larger batches")]
    LabelsLeftOut,
    #[error("stopped by the caller")]
    Stopped,

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
    // data
    #[error("a dataset needs at least one image with one pixel, got images of shape (n, h, w, c) = {shape:?}; check the folder and the split they came from")]
    EmptyData { shape: [usize; 4] },
    #[error("images of shape (n, h, w, c) = {shape:?} need that many pixels, got {got}; check the shape")]
    PixelCount { shape: [usize; 4], got: usize },
    #[error("labels must be one for each image: expected {images}, got {labels}; check that both belong to the same split")]
    LabelCount { images: usize, labels: usize },
    #[error("labels must be from 0 to {}, got {label} at index {index}; number the classes from 0, or set num_classes", num_classes.saturating_sub(1))]
    LabelRange { label: i64, index: usize, num_classes: usize },
    #[error("an index of {num_images} images must be from -{num_images} to {}, got {index}; count from 0", num_images.saturating_sub(1))]
    ImageIndex { index: isize, num_images: usize },
    #[error("{path} must hold {expected}, got {got}; the file is damaged, cut short or another one: fetch it again")]
    DataFile { path: String, expected: String, got: String },
    #[error("{name} must be {expected}, got {got}")]
    DataSetting { name: &'static str, expected: String, got: String },
    #[error("the prefetch thread stopped: {message}")]
    Prefetch { message: String },

    // weights
    #[error("a kernel to be decomposed must be square, odd and 3 or larger, as (out_channels, in_channels, size, size), got {got:?}")]
    LargeKernel { got: Vec<usize> },
    #[error("convolutions can be merged only with {expected}")]
    Merge { expected: String },

    // kernels
    #[error("covariance pooling needs an image, a pixel, a channel and an iteration at least, got {got}")]
    EmptyCovariance { got: String },
    #[error("an image needs a shape [batch, channels, ...], and a scale of its channels [batch, channels], got {got}")]
    ChannelScale { got: String },
    #[error("a convolution needs positive sizes, groups that divide its channels and a kernel that fits into the padded input, got {got}")]
    Geometry { got: String },
    #[error("the groups of this convolution must share one weight, got {groups} groups; use the kernel for grouped convolutions")]
    Groups { groups: usize },
    #[error("the weight was packed for another product; pack it for {expected}")]
    PackedWeight { expected: String },
    #[error("batch norm needs at least one row and one channel, got {rows} rows of {channels}")]
    EmptyBatchNorm { rows: usize, channels: usize },
    #[error("layer norm needs at least one feature in a row, got {rows} rows of none")]
    EmptyLayerNorm { rows: usize },
    #[error("an activation needs a slope of zero or more and a maximum above zero, got slope {slope} and maximum {max}")]
    Activation { slope: f32, max: f32 },
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
    /// Adds the name of the operation to a message of torch, which may lack it.
    pub fn in_operation(self, name: impl FnOnce() -> String) -> Error {
        match self {
            Error::Torch(text) => Error::Torch(format!("{}: {text}", name())),
            other => other,
        }
    }

    /// Whether a device ran out of memory.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Error::Torch(text) | Error::Cuda(text) if text.contains("out of memory"))
    }

    pub fn kind(&self) -> Kind {
        match self {
            Error::CpuSetting { .. }
            | Error::NoTiles
            | Error::Ratio { .. }
            | Error::Placement { .. }
            | Error::MaskLength { .. }
            | Error::NoBlocks
            | Error::Order { .. } => Kind::Value,
            Error::Io { .. } => Kind::Io,
            Error::Capture(_)
            | Error::Torch(_)
            | Error::TorchCall { .. }
            | Error::TensorMemory { .. } => Kind::Runtime,
            Error::InputShape { .. } => Kind::Value,
            Error::NonFiniteLoss { .. } => Kind::Arithmetic,
            Error::ParameterMemory { .. }
            | Error::NoBatches
            | Error::BatchCounts { .. }
            | Error::LabelOutputs { .. }
            | Error::LabelsNotFinite
            | Error::LabelsLeftOut
            | Error::DamagedCheckpoint { .. }
            | Error::OldCheckpoint { .. }
            | Error::OtherCheckpoint { .. } => Kind::Value,
            Error::Stopped => Kind::Runtime,

            // optim
            Error::Setting { .. }
            | Error::Nesterov { .. }
            | Error::StateCount { .. }
            | Error::StateLength { .. }
            | Error::NoSteps { .. }
            | Error::WarmupLength { .. }
            | Error::ScheduleUnit { .. } => Kind::Value,
            Error::EmptyData { .. }
            | Error::PixelCount { .. }
            | Error::LabelCount { .. }
            | Error::LabelRange { .. }
            | Error::ImageIndex { .. }
            | Error::DataFile { .. }
            | Error::DataSetting { .. } => Kind::Value,
            Error::Prefetch { .. } => Kind::Runtime,

            // kernels
            Error::LargeKernel { .. }
            | Error::Merge { .. }
            | Error::EmptyCovariance { .. }
            | Error::ChannelScale { .. }
            | Error::Geometry { .. }
            | Error::Activation { .. }
            | Error::Groups { .. }
            | Error::PackedWeight { .. }
            | Error::EmptyBatchNorm { .. }
            | Error::EmptyLayerNorm { .. }
            | Error::SliceLength { .. }
            | Error::SingleValue { .. } => Kind::Value,
            Error::EmptyLaunch { .. } => Kind::Value,
            Error::TasksLost { .. }
            | Error::NoNvrtc
            | Error::NoCudaDriver
            | Error::OldGpu { .. }
            | Error::Cuda(_)
            | Error::CudaCompile { .. } => Kind::Runtime,
        }
    }
}

/// Keeps the first line of torch's message, which is followed by a stack trace of C++.
#[cfg(feature = "python")]
impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Error {
        let text = error.to_string();
        Error::Torch(text.lines().next().unwrap_or_default().to_owned())
    }
}
