//! The core of proprelu.
//!
//! # The way of one batch
//! Python traces a model with its loss to one graph of ATen operations, forward and backward, and
//! hands it over as JSON. [`program`] lowers the graph to a list of typed operations and fuses
//! what it can. For every batch that [`data`] has read, augmented and normalized ahead of time,
//! the engine runs that list, on [`kernels`] of ours where there are some and on ATen for all
//! else; `train` adds up the metrics, has [`optim`] update the parameters, and after an epoch
//! evaluates and writes a checkpoint. The GIL is released for all of it.
//!
//! # Who knows whom
//! `ratio`, `weights`, `data`, `program`, `kernels` and `optim` know neither torch nor each other,
//! and are built and tested without it (`--no-default-features`). `engine` and `train` work on
//! tensors; `python` is the only door to Python. All may use `error`, `activation` and
//! `instructions`.

pub mod activation;
pub mod data;
pub mod error;
mod instructions;
pub mod kernels;
pub mod optim;
pub mod program;
pub mod ratio;
pub mod weights;

#[cfg(feature = "python")]
pub mod engine;
#[cfg(feature = "python")]
mod python;
#[cfg(feature = "python")]
pub mod train;
