//! Checkpoints: the file, the numbers in its header, and the sum by which damage is noticed.

mod counters;
mod file;
mod seal;

pub use file::{load, read_facts, save, tensors, Facts};
