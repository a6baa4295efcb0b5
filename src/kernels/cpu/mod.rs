//! Kernels for the CPU, one operation in each file or folder.

mod activation;
pub mod attention;
pub mod batch_norm;
pub mod convolution;
pub mod covariance;
mod exponential;
pub mod layer_norm;
mod moments;
mod product;
mod reduce;
pub mod squeeze_excite;
