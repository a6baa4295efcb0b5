//! Kernels for CUDA: sources in CUDA C++, compiled where they run.
//!
//! `source` names them, `compile` makes machine code for an architecture with NVRTC, `cache` keeps
//! it on disk, `launch` says how many blocks of how many threads each kernel wants. An operation's
//! file (`batch_norm`, ...) launches its kernels in their order on a `device`: the `driver`'s GPU,
//! or in tests the `host`, which runs the same sources on the CPU.

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
pub use device::{Address, Device, Number, Plain, LANES};
pub use driver::Driver;
pub use host::{host_text, Host};
pub use source::Source;
