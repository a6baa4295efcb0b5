//! Batch norm, fused with an optional residual add and an activation
//! (Ioffe and Szegedy, arXiv 1502.03167).
//!
//! All data are row-major `[rows, channels]`: NHWC activations with `rows = N * H * W`. Activations
//! are f32 or bf16; parameters and statistics are f32. The division into tasks depends only on the
//! shape, and partial sums are merged in order, so results do not depend on the threads.
//!
//! Many rows are divided into parts, which are read once for the sums and again for the computation
//! that needs the sums. With few rows and many channels, each task computes both for some of the
//! `columns`.

mod affine;
mod apply;
mod backward;
mod columns;
mod forward;
mod gradient_sums;
mod input_gradient;
mod lanes;
mod masking;
mod normalize;
mod running;
mod shape;
mod statistics;
mod sweep;
mod tiling;

#[cfg(test)]
mod tests;

pub use super::moments::Moments;
pub use apply::Apply;
pub use backward::Backward;
pub use forward::Forward;
pub use gradient_sums::Sums;
pub use masking::Mask;
pub use running::{fold, invstd, update_running};
pub use shape::Shape;
pub use statistics::moments;
