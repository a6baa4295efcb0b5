//! Cross-entropy and its gradient.

use tch::{Kind, Tensor};

use super::operand::{address, number, scratch};
use crate::engine::values::{Lookup, Outputs, Places};
use crate::error::{Error, Result};
use crate::kernels::cuda::{cross_entropy, Device};
use crate::program::CrossEntropy;

pub fn run(
    op: &CrossEntropy,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
    device: &dyn Device,
) -> Result<Outputs> {
    let logits = lookup(op.logits)?.f_contiguous()?;
    let labels = lookup(op.labels)?.f_contiguous()?;
    let &[batch, classes] = logits.size().as_slice() else {
        return Err(Error::Capture("the logits of a cross-entropy are no matrix".into()));
    };
    let grad = logits.f_empty_like()?;
    let loss = Tensor::f_empty([0; 0], (Kind::Float, places.storage.device()))?;
    let losses = scratch(batch as usize, Kind::Float, places)?;
    let entropy = cross_entropy::CrossEntropy {
        batch: batch as usize,
        classes: classes as usize,
        label_smoothing: op.label_smoothing as f32,
        number: number(&logits)?,
        logits: address(&logits)?,
        labels: address(&labels)?,
        losses: address(&losses)?,
        loss: address(&loss)?,
        grad: address(&grad)?,
    };
    // SAFETY: the tensors have these sizes; torch reuses their memory only for later launches.
    unsafe { entropy.launch(device) }?;
    Ok(vec![Some(loss), Some(grad)])
}
