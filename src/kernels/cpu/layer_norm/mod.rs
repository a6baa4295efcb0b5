//! Layer norm: each row is normalized by its own mean and variance.
//!
//! Rows are handled sixteen at a time: the sums of their lanes are transposed, so that the
//! statistics of all sixteen are the sum of the rows of one square.

mod backward;
mod forward;
mod rows;
mod shape;
#[cfg(test)]
mod tests;

pub use backward::Backward;
pub use forward::Forward;
pub use shape::Shape;
