//! Batch norm, fused with an optional residual add and an optional ReLU
//! (Ioffe and Szegedy, arXiv 1502.03167).
//!
//! All data are row-major `[rows, channels]`: NHWC activations with `rows = N * H * W`. Activations
//! are f32 or bf16; parameters and statistics are f32. How rows are dealt to tasks depends on the
//! shape alone and partial sums are merged in order, so results do not depend on the threads.

mod backward;
mod forward;
mod gradient_sums;
mod input_gradient;
mod normalize;
mod running;
mod shape;
mod statistics;
mod tiling;

#[cfg(test)]
mod tests;

pub use backward::Backward;
pub use forward::Forward;
pub use running::update_running;
pub use shape::Shape;
pub use statistics::Moments;
