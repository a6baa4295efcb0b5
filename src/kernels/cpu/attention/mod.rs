//! Softmax attention of short sequences, `softmax(scale * q k^T) v`, without a mask.
//!
//! One head of one image is a task. Its scores never leave the cache: a block of queries at a time
//! is compared with all keys. Scores are kept transposed, with a query in each lane, so that maxima
//! and sums over the keys need no operation across lanes. The backward computes the scores again.

mod backward;
mod block;
mod forward;
mod shape;
mod staging;
#[cfg(test)]
mod tests;

pub use backward::Backward;
pub use forward::Forward;
pub use shape::{Operand, Shape, Strides};
