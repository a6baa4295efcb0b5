//! Events that the training loop reports.

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// The progress of the current epoch after a step, with means over its steps so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepEvent {
    /// The number of the epoch, from 1.
    pub epoch: u64,
    /// Optimizer steps done in the whole training.
    pub step: u64,
    pub lr: f64,
    pub loss: f64,
    pub top1: Option<f64>,
    pub images_per_s: f64,
}

/// One finished epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// The number of the epoch, from 1.
    pub epoch: u64,
    pub step: u64,
    pub lr: f64,
    pub train_loss: f64,
    pub train_top1: Option<f64>,
    pub train_top5: Option<f64>,
    pub val_loss: Option<f64>,
    pub val_top1: Option<f64>,
    pub val_top5: Option<f64>,
    /// The time of the training, the evaluation and the checkpoint.
    pub seconds: f64,
    /// The throughput of the training alone.
    pub images_per_s: f64,
}

/// Receives the events. An error stops the training, which is how Ctrl-C is handled.
pub trait Observer {
    /// Called after each step, and about ten times a second during a long one; must be quick.
    fn poll(&mut self) -> Result<()>;

    /// Called before each epoch with the number of those that are finished. It seeds the generator
    /// of the random operations.
    fn on_epoch_start(&mut self, epoch: u64) -> Result<()>;

    /// Called at most ten times a second.
    fn on_step(&mut self, event: &StepEvent) -> Result<()>;

    fn on_epoch(&mut self, row: &EpochRow) -> Result<()>;
}
