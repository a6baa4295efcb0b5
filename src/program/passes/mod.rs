//! Rewrites of a program that keep what it computes, on one [`graph`] of definitions and uses.

mod activation;
mod alias;
mod casts;
mod cross_entropy;
mod fold_batch_norm;
mod fuse_batch_norm;
mod fuse_gradient_adds;
mod fuse_loads;
mod fuse_statistics;
mod fusible;
mod graph;
mod liveness;
mod move_to;
mod normalization;
mod plan_memory;
mod recompute;
mod tie_convolutions;
mod type_convolutions;

pub use alias::remove_aliases;
pub use casts::{narrow_images, share_casts, take_bf16_gradients};
pub use cross_entropy::lower_cross_entropy;
pub use fold_batch_norm::fold_batch_norm;
pub use fuse_batch_norm::fuse_batch_norm;
pub use fuse_gradient_adds::fuse_gradient_adds;
pub use fuse_loads::fuse_loads;
pub use fuse_statistics::fuse_statistics;
pub use fusible::{fusible, Fusible};
pub use liveness::{last_uses, remove_dead_code};
pub use move_to::move_to;
pub use plan_memory::{plan_memory, MemoryPlan};
pub use recompute::recompute;
pub use tie_convolutions::tie_convolutions;
pub use type_convolutions::type_convolutions;
