//! 2-D convolutions over NHWC activations in f32 or bf16, and their gradients.
//!
//! Weights arrive as the fp32 master,
//! `[out_channels, kernel height, kernel width, in_channels / groups]`, and are packed into the
//! order in which a kernel reads them. The numbers of a word, which are multiplied, may have another
//! type than the activations: bf16 in memory can be staged as f32. All sums are f32. How the work is divided into tasks depends
//! on the shape alone and partial sums are merged in order, so results do not depend on the number
//! of threads.
//!
//! # How to read an algorithm
//!
//! Each algorithm ([`direct`], [`winograd`], [`depthwise`], [`amx`]) is a folder with the same files, so a
//! new one should have them, too. Its `mod.rs` explains how data flows; then:
//!
//! | file | contents |
//! | --- | --- |
//! | `check` | which geometries the algorithm supports |
//! | `forward`, `grad_input` | the public passes: check the slices, run the correlation |
//! | `correlation/` | both as one computation: a source and a packed weight give an output |
//! | `grad_weight/` | the public pass for the gradients of weight and bias |
//! | `packed_weight`, `pack` | a weight in the order of the microkernel; writing rows of it |
//! | `axis` | one dimension of a geometry: phases of the stride, and taps of the kernel |
//! | `tests` | all passes against the definition in f64 |
//!
//! The folders `correlation/` and `grad_weight/` have the same files again, in the order in which
//! data flows through them:
//!
//! | file | contents |
//! | --- | --- |
//! | `operands` | the slices and settings that a pass and its tasks read |
//! | `pass` | the whole computation: divides it into tasks, runs them, merges their results |
//! | `plan` | the division into tasks, and of a task into parts that fit into the caches |
//! | `layout` | the order of a task's data in its scratch memory |
//! | `task` | one task: calls staging, microkernel and epilogue for each of its parts |
//! | `staging` | activations are copied, padded, transformed or packed into the scratch |
//! | `microkernel` | the inner loops, with accumulators in registers |
//! | `epilogue`, `moments` | bias, residual, activation, rounding; moments of what is stored |
//! | `merge` | partial gradients are added up in the layout of the weight |
//!
//! An algorithm leaves out what it has no use for: depthwise convolution stages nothing, packs its
//! weights in each pass, and its epilogue is a few lines of the microkernel. Every kernel is
//! inlined into one function for each instruction level, which `crate::cpu` explains.

pub mod amx;
mod axis;
pub mod depthwise;
pub mod direct;
mod epilogue;
mod geometry;
mod load;
mod moments;
mod products;
#[cfg(test)]
mod testing;
mod widened;
pub mod winograd;

pub use super::moments::Moments;
pub use geometry::Geometry;
pub use load::Load;
pub use products::{Forward, GradInput, Operand};
pub use widened::Widened;
