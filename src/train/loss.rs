//! The loss of predictions in an evaluation.

use tch::{Kind, Reduction, Tensor};

use crate::engine::memory::slice;
use crate::error::{Error, Result};

/// The mean loss of a batch, and the weight of the batch in a mean of several.
pub type Weighted = (f64, f64);

/// The loss of a model's outputs and the labels.
pub type LossFunction = Box<dyn Fn(&[Tensor], &[Tensor]) -> Result<Weighted> + Send + Sync>;

/// The loss function of an evaluation.
pub enum Loss {
    /// The weight is the number of labels that are not ignored.
    CrossEntropy {
        label_smoothing: f64,
    },
    Custom(LossFunction),
}

impl Loss {
    pub fn of(&self, outputs: &[Tensor], labels: &[Tensor]) -> Result<Weighted> {
        match (self, outputs, labels) {
            (Loss::Custom(custom), ..) => custom(outputs, labels),
            (Loss::CrossEntropy { label_smoothing }, [predictions], [labels]) => {
                check_labels(labels, &predictions.size())?;
                let loss = predictions.f_cross_entropy_loss::<Tensor>(
                    labels,
                    None,
                    Reduction::Mean,
                    IGNORED,
                    *label_smoothing,
                )?;
                Ok((loss.f_double_value(&[])?, counted(labels)?))
            }
            _ => Err(Error::Capture("a cross-entropy takes one output and one label".into())),
        }
    }
}

/// The label that torch ignores in a cross-entropy.
const IGNORED: i64 = -100;

/// The labels that a cross-entropy counts: all that it does not ignore, or, of probabilities, one
/// for each image.
fn counted(labels: &Tensor) -> Result<f64> {
    if labels.f_kind()? != Kind::Int64 {
        return Ok(labels.size().first().map_or(1.0, |n| *n as f64));
    }
    let labels = labels.f_contiguous()?;
    Ok(slice::<i64>(&labels)?.iter().filter(|label| **label != IGNORED).count() as f64)
}

/// Checks labels of a batch whose loss is not finite: with some of them none is.
pub fn check_finite(labels: &[Tensor], left_out: &[i64]) -> Result<()> {
    for label in labels {
        if label.is_floating_point() && !holds(&label.f_isfinite()?)? {
            return Err(Error::LabelsNotFinite);
        }
    }
    if let [labels] = labels {
        if labels.f_kind()? == Kind::Int64 && labels.numel() > 0 {
            let labels = labels.f_contiguous()?;
            if slice::<i64>(&labels)?.iter().all(|label| left_out.contains(label)) {
                return Err(Error::LabelsLeftOut);
            }
        }
    }
    Ok(())
}

/// Whether all elements are true.
fn holds(all: &Tensor) -> Result<bool> {
    Ok(all.f_all()?.f_int64_value(&[])? != 0)
}

/// Checks class numbers, (N) or (N, ...), since torch reports a wrong one only on the error stream.
pub fn check_labels(labels: &Tensor, predictions: &[i64]) -> Result<()> {
    let (&[_, classes, ..], Kind::Int64) = (predictions, labels.f_kind()?) else { return Ok(()) };
    let labels = labels.f_contiguous()?;
    let wrong = |label: &&i64| **label != IGNORED && !(0..classes).contains(*label);
    match slice::<i64>(&labels)?.iter().find(wrong) {
        Some(&label) => Err(Error::LabelOutputs { label, outputs: classes as usize }),
        None => Ok(()),
    }
}
