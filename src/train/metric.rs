//! Loss, top-1 and top-5 accuracy, summed over batches.

use serde::Serialize;
use tch::{Kind, Tensor};

use super::batches::Batch;
use crate::engine::memory::slice;
use crate::error::Result;
use crate::kernels::cuda::metrics as kernels;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    pub loss: f64,
    /// Fractions; `None` unless the predictions are a (N, classes) matrix and the labels integers.
    pub top1: Option<f64>,
    pub top5: Option<f64>,
}

/// Sums over the images seen so far.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub images: usize,
    /// The sum of the losses of all batches, each times its weight, and the sum of the weights.
    pub loss: f64,
    pub weight: f64,
    /// Images with a rank, and those with their label at the top or among the first five.
    pub ranked: usize,
    pub top1: usize,
    pub top5: usize,
    /// The labels that the loss leaves out, which have no rank.
    left_out: Vec<i64>,
}

impl Totals {
    /// No images yet, for a loss that leaves out some labels.
    pub fn leaving_out(left_out: Vec<i64>) -> Totals {
        Totals { left_out, ..Totals::default() }
    }

    /// The totals that a device has summed.
    pub fn of(sums: &[kernels::Metrics]) -> Totals {
        let kernels::Metrics { loss, images, ranked, top1, top5 } =
            sums.first().copied().unwrap_or_default();
        let [images, ranked, top1, top5] = [images, ranked, top1, top5].map(|n| n as usize);
        let left_out = Vec::new();
        Totals { images, loss, weight: images as f64, ranked, top1, top5, left_out }
    }

    /// Adds a batch with a mean loss. `weight` is its share in the mean of several batches; a batch
    /// of which the loss ignores every label has none, and a loss of NaN.
    pub fn add(
        &mut self,
        loss: f64,
        weight: f64,
        predictions: Option<&Tensor>,
        batch: &Batch,
    ) -> Result<()> {
        self.images += batch.len();
        if weight != 0.0 {
            self.loss += loss * weight;
            self.weight += weight;
        }
        match (predictions, batch.labels.as_slice()) {
            (Some(predictions), [labels]) if is_classification(predictions, labels)? => {
                self.rank(predictions, labels)
            }
            _ => Ok(()),
        }
    }

    pub fn metrics(&self) -> Metrics {
        let share = |count: usize| (self.ranked > 0).then(|| count as f64 / self.ranked as f64);
        let loss = if self.weight == 0.0 { self.loss } else { self.loss / self.weight };
        Metrics { loss, top1: share(self.top1), top5: share(self.top5) }
    }

    fn rank(&mut self, predictions: &Tensor, labels: &Tensor) -> Result<()> {
        let predictions = predictions.f_to_kind(Kind::Float)?.f_contiguous()?;
        let labels = counted(labels, &self.left_out)?.f_contiguous()?;
        let classes = predictions.size()[1] as usize;
        let rows = slice::<f32>(&predictions)?.chunks_exact(classes);
        for (scores, label) in rows.zip(slice::<i64>(&labels)?) {
            let Some(rank) = rank(scores, *label) else { continue };
            self.ranked += 1;
            self.top1 += usize::from(rank < 1);
            self.top5 += usize::from(rank < 5);
        }
        Ok(())
    }
}

const NO_CLASS: i64 = -1;

/// Whether the predictions are a (N, classes) matrix and the labels (N,) integers.
pub fn is_classification(predictions: &Tensor, labels: &Tensor) -> Result<bool> {
    let (predicted, labeled) = (predictions.size(), labels.size());
    let matrix = matches!(predicted.as_slice(), [_, classes] if *classes > 0);
    Ok(matrix && labeled == predicted[..1] && labels.f_kind()? == Kind::Int64)
}

/// The labels, with a number that is no class in place of those that the loss leaves out.
pub fn counted(labels: &Tensor, left_out: &[i64]) -> Result<Tensor> {
    left_out.iter().try_fold(labels.shallow_clone(), |labels, label| {
        Ok(labels.f_masked_fill(&labels.f_eq(*label)?, NO_CLASS)?)
    })
}

/// The number of classes that score higher than the label. Of equal scores the first class ranks
/// higher, as in argmax. `None` for a label that is no class, such as one to be ignored.
fn rank(scores: &[f32], label: i64) -> Option<usize> {
    let label = usize::try_from(label).ok()?;
    let own = *scores.get(label)?;
    // NaN is neither lower nor equal, so that the label never ranks above it.
    let higher = |(class, score): &(usize, &f32)| {
        let (lower, equal) = (**score < own, **score == own);
        *class != label && !lower && (!equal || *class < label)
    };
    Some(scores.iter().enumerate().filter(higher).count())
}
