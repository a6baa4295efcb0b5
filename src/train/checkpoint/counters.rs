//! The numbers of a checkpoint beside its tensors.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::train::event::EpochRow;

/// Version 1 had no sum and no settings.
pub const VERSION: u32 = 2;

/// Larger numbers are not exact in the `f64` that other programs read them as.
const MAX_STEP: u64 = 1 << 53;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    pub version: u32,
    pub step: u64,
    pub epoch: u64,
    /// The updates of each parameter, in the order of the state.
    pub updates: Vec<u64>,
    pub rows: Vec<Row>,
    /// What the caller records about the training.
    pub facts: Map<String, Value>,
}

impl Counters {
    /// What is impossible in the numbers of a training, if anything.
    pub fn contradiction(&self) -> Option<String> {
        let Counters { step, epoch, rows, .. } = self;
        if *step > MAX_STEP {
            return Some(format!("it counts {step} steps"));
        }
        if rows.len() as u64 != *epoch {
            return Some(format!("it counts {epoch} epochs and has {} rows", rows.len()));
        }
        if let Some(updates) = self.updates.iter().find(|updates| *updates > step) {
            return Some(format!("it counts {updates} updates in {step} steps"));
        }
        let steps = rows.iter().map(|row| row.step).chain([*step]);
        let in_order = rows.iter().zip(1..).all(|(row, epoch)| row.epoch == epoch);
        let ordered = in_order && steps.clone().zip(steps.skip(1)).all(|(a, b)| a <= b);
        (!ordered).then(|| "its epochs are not in order".to_owned())
    }
}

/// An [`EpochRow`] in JSON, which has no numbers for "not a number" and infinity.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    epoch: u64,
    step: u64,
    measures: [Measure; 9],
}

/// A finite number, a text for another one, or nothing.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Measure {
    Finite(f64),
    Other(String),
    Absent(()),
}

impl Measure {
    fn new(value: Option<f64>) -> Measure {
        match value {
            Some(value) if value.is_finite() => Measure::Finite(value),
            Some(value) => Measure::Other(value.to_string()),
            None => Measure::Absent(()),
        }
    }

    fn value(&self) -> Option<f64> {
        match self {
            Measure::Finite(value) => Some(*value),
            Measure::Other(text) => text.parse().ok(),
            Measure::Absent(()) => None,
        }
    }
}

impl From<&EpochRow> for Row {
    fn from(row: &EpochRow) -> Row {
        let measures = [
            Some(row.lr),
            Some(row.train_loss),
            row.train_top1,
            row.train_top5,
            row.val_loss,
            row.val_top1,
            row.val_top5,
            Some(row.seconds),
            Some(row.images_per_s),
        ];
        Row { epoch: row.epoch, step: row.step, measures: measures.map(Measure::new) }
    }
}

impl From<&Row> for EpochRow {
    fn from(row: &Row) -> EpochRow {
        let [lr, train_loss, train_top1, train_top5, val_loss, val_top1, val_top5, seconds, speed] =
            row.measures.each_ref().map(Measure::value);
        EpochRow {
            epoch: row.epoch,
            step: row.step,
            lr: lr.unwrap_or(f64::NAN),
            train_loss: train_loss.unwrap_or(f64::NAN),
            train_top1,
            train_top5,
            val_loss,
            val_top1,
            val_top5,
            seconds: seconds.unwrap_or(f64::NAN),
            images_per_s: speed.unwrap_or(f64::NAN),
        }
    }
}
