//! Kernels for the CPU, one operation in each file or folder.

mod activation;
pub mod batch_norm;
pub mod convolution;
pub mod covariance;
mod moments;
mod reduce;
pub mod squeeze_excite;
