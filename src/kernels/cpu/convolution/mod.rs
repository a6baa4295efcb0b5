//! 2-D convolutions over NHWC activations in f32 or bf16, and their gradients.
//!
//! Weights arrive as the fp32 master, `[out_channels, kernel height, kernel width,
//! in_channels / groups]`, and are packed into the order in which a kernel reads them. All sums
//! are f32. How the work is dealt to tasks depends on the shape alone and partial sums are merged
//! in order, so results do not depend on the threads.

mod activate;
mod algorithm;
pub mod depthwise;
pub mod direct;
mod geometry;
mod load;
mod products;
mod widened;
pub mod winograd;

pub use super::batch_norm::Moments;
pub use algorithm::{candidates, Algorithm, Preference};
pub use geometry::Geometry;
pub use load::Load;
pub use products::{Forward, GradInput, Operand};
pub use widened::Widened;
