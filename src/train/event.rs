//! What the loop tells about itself while it runs.

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// The state of the running epoch after a step; the means are over the epoch so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepEvent {
    /// From 1.
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
    /// From 1.
    pub epoch: u64,
    pub step: u64,
    pub lr: f64,
    pub train_loss: f64,
    pub train_top1: Option<f64>,
    pub train_top5: Option<f64>,
    pub val_loss: Option<f64>,
    pub val_top1: Option<f64>,
    pub val_top5: Option<f64>,
    /// Training, evaluation and checkpoint together.
    pub seconds: f64,
    /// Of the training alone.
    pub images_per_s: f64,
}

/// Whoever watches. An error stops the training: it is how Ctrl-C gets in.
pub trait Observer {
    /// After every step, and within a long one some ten times a second; must be quick.
    fn poll(&mut self) -> Result<()>;

    /// A few times a second.
    fn on_step(&mut self, event: &StepEvent) -> Result<()>;

    fn on_epoch(&mut self, row: &EpochRow) -> Result<()>;
}
