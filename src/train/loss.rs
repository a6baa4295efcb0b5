//! The loss of predictions in an evaluation.

use tch::{Kind, Reduction, Tensor};

use crate::engine::memory::slice;
use crate::error::{Error, Result};

/// The mean loss of predictions and labels.
pub type LossFunction = Box<dyn Fn(&Tensor, &Tensor) -> Result<f64> + Send + Sync>;

/// The loss function of an evaluation.
pub enum Loss {
    CrossEntropy { label_smoothing: f64 },
    Custom(LossFunction),
}

impl Loss {
    pub fn of(&self, predictions: &Tensor, labels: &Tensor) -> Result<f64> {
        match self {
            Loss::CrossEntropy { label_smoothing } => {
                check_labels(labels, &predictions.size())?;
                let loss = predictions.f_cross_entropy_loss::<Tensor>(
                    labels,
                    None,
                    Reduction::Mean,
                    IGNORED,
                    *label_smoothing,
                )?;
                Ok(loss.f_double_value(&[])?)
            }
            Loss::Custom(custom) => custom(predictions, labels),
        }
    }
}

/// The label that torch ignores in a cross-entropy.
const IGNORED: i64 = -100;

/// Checks the labels, since torch reports a wrong label only on the error stream.
pub fn check_labels(labels: &Tensor, predictions: &[i64]) -> Result<()> {
    let (&[_, classes], Kind::Int64) = (predictions, labels.f_kind()?) else { return Ok(()) };
    let labels = labels.f_contiguous()?;
    let wrong = |label: &&i64| **label != IGNORED && !(0..classes).contains(*label);
    match slice::<i64>(&labels)?.iter().find(wrong) {
        Some(&label) => Err(Error::LabelOutputs { label, outputs: classes as usize }),
        None => Ok(()),
    }
}
