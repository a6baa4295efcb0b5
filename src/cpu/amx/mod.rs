//! Intel's AMX: eight tiles, each a matrix of 16 rows of 16 words, and an instruction that
//! multiplies two of them and adds the product to a third.
//!
//! A [`TileKernel`] is written over [`Tiles`] and compiled for those of the processor (`hardware`),
//! which need the `permission` of the system, and for tiles in plain Rust (`emulated`), so that all
//! of it except for the instructions themselves can be tested on any machine.
//!
//! Kernels with tiles have not run on hardware yet.

mod dispatch;
mod emulated;
#[cfg(target_arch = "x86_64")]
mod hardware;
#[cfg(target_arch = "x86_64")]
mod permission;
#[cfg(test)]
mod tests;
mod tiles;
#[cfg(target_arch = "x86_64")]
mod trial;

pub(crate) use dispatch::{dispatch_tiles, has_amx, has_tiles, TileKernel};
#[cfg(target_arch = "x86_64")]
pub(super) use permission::{permission, processor_has_amx};
pub(crate) use tiles::{Shape, Shapes, Tiles, ROWS, ROW_BYTES, ROW_WORDS, TILE_WORDS};
