//! The forward and the gradient of the input as one computation: outputs that are sums of weighted
//! source pixels of the same channel.
//!
//! A [`pass`] divides the rows of all images into tasks. A [`task`] goes through its rows in bands
//! that stay in the cache, and computes a band block by block of channels and phase by phase
//! ([`phase`]) with the [`microkernel`].

mod microkernel;
mod moments;
mod operands;
mod pass;
mod phase;
mod task;

pub(super) use operands::Correlation;
