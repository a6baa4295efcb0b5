//! The ground floor of all computation on a CPU: instruction levels, vectors of 16 lanes, number
//! types, thread pools, and memory that tasks share.

mod dispatch;
mod element;
mod memory;
mod parallel;
pub mod processor;
mod simd;
mod slices;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use dispatch::{dispatch, sums, vectorized, Kernel, Vectorized};
pub use element::Element;
pub(crate) use memory::{lend, prefetch, Line};
pub(crate) use parallel::{run_all, run_all_backward};
pub use parallel::{Parallel, Serial};
pub use simd::Number;
pub(crate) use simd::{Simd, LANES};
pub(crate) use slices::{check_len, Parts, SharedSlice};
