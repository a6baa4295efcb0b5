//! CUDA kernels: sources in CUDA C++ that are compiled at run time.
//!
//! `source` lists the sources, `compile` compiles them for an architecture with NVRTC, `cache`
//! stores the machine code on disk, and `launch` computes the grid and block sizes. The file of an
//! operation (`batch_norm`, ...) launches its kernels in order on a `device`, which is the GPU of
//! `driver`, or in tests `host`, which runs the same sources on the CPU.

pub mod augment;
pub mod batch_norm;
mod cache;
mod compile;
pub mod cross_entropy;
mod device;
mod driver;
mod host;
pub mod launch;
pub mod metrics;
pub mod optimizer;
mod sender;
mod source;

pub use cache::compiled;
pub use compile::{compile, Architecture};
pub use device::{Address, Device, Number, Plain, STAGING_BUFFERS};
pub use driver::Driver;
pub use host::{host_text, Host};
pub use source::Source;
