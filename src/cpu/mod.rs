//! The ground floor of all computation on a CPU: instruction levels, vectors of 16 lanes, tiles,
//! number types, thread pools, and memory that tasks share.

mod amx;
mod dispatch;
mod element;
mod level;
mod memory;
mod multiplication;
mod parallel;
pub mod peak;
pub mod processor;
mod simd;
mod slices;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use amx::{
    dispatch_tiles, has_amx, has_tiles, Shape, Shapes, TileKernel, Tiles, ROWS, ROW_BYTES,
    ROW_WORDS, TILE_WORDS,
};
pub(crate) use dispatch::{dispatch, sums, vectorized, Kernel, Vectorized};
pub use element::Element;
pub use level::check_setting;
pub(crate) use memory::{lend, prefetch, prefetch_to_write, Line};
pub use multiplication::{bf16, Bf16};
pub(crate) use parallel::{run_all, run_all_backward, try_all};
pub use parallel::{Parallel, Serial};
pub use simd::Number;
pub(crate) use simd::{convert, Simd, LANES};
pub(crate) use slices::{check_len, Parts, SharedSlice};
