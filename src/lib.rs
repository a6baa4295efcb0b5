//! The core of proprelu.
//!
//! # How a batch is processed
//! Python traces a model with its loss to one graph of ATen operations, forward and backward, and
//! passes it as plain data. [`program`] lowers the graph to a list of typed operations and fuses
//! operations. [`data`] reads, augments and normalizes each batch ahead of time. The engine runs
//! the list on the batch, with our own [`kernels`] where they exist and with ATen elsewhere. `train`
//! adds up the metrics, updates the parameters through [`optim`], and evaluates and writes a
//! checkpoint after each epoch. The GIL is released throughout.
//!
//! # Dependencies
//! `ratio`, `weights`, `data`, `program`, `kernels` and `optim` depend neither on torch nor on each
//! other; `tuning` uses `program` and `kernels`. All of these are built and tested without torch
//! (`--no-default-features`). `engine` and `train` work on tensors. Only `python` uses Python. All
//! may use the ground floor: `error`, `activation`, `cpu` and `files`.

pub mod activation;
pub mod cpu;
pub mod data;
pub mod error;
pub mod files;
pub mod kernels;
pub mod optim;
pub mod program;
pub mod ratio;
pub mod tuning;
pub mod weights;

#[cfg(feature = "python")]
pub mod engine;
#[cfg(feature = "python")]
mod python;
#[cfg(feature = "python")]
pub mod train;
