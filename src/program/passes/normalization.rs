//! Finds the batch norms of a graph that have a kernel, in training and in evaluation mode.

use super::graph::Graph;
use crate::activation::Activation;
use crate::program::{Arg, BatchNorm, BatchNormApply, Dtype, Op, Statistics, ValueId};

const TRAINING: &str = "aten::_native_batch_norm_legit_functional";
const EVALUATION: &str = "aten::_native_batch_norm_legit_no_training";

/// A batch norm in either mode, so that one pattern serves both.
#[derive(Clone)]
pub(super) enum Normalization {
    Training(BatchNorm),
    Evaluation(BatchNormApply),
}

impl Normalization {
    pub(super) fn activated(&self, activation: Activation) -> Self {
        match self.clone() {
            Self::Training(op) => Self::Training(BatchNorm { activation, ..op }),
            Self::Evaluation(op) => Self::Evaluation(BatchNormApply { activation, ..op }),
        }
    }

    pub(super) fn added(&self, residual: ValueId) -> Self {
        let residual = Some(residual);
        match self.clone() {
            Self::Training(op) => Self::Training(BatchNorm { residual, ..op }),
            Self::Evaluation(op) => Self::Evaluation(BatchNormApply { residual, ..op }),
        }
    }
}

impl From<Normalization> for Op {
    fn from(normalization: Normalization) -> Op {
        match normalization {
            Normalization::Training(op) => Op::BatchNorm(op),
            Normalization::Evaluation(op) => Op::BatchNormApply(op),
        }
    }
}

impl Graph<'_> {
    /// An instruction as a batch norm that has a kernel, and its result.
    pub(super) fn normalization(&self, index: usize) -> Option<(Normalization, ValueId)> {
        let y = self.output(index, 0)?;
        let normalization = self.training(index).or_else(|| self.evaluation(index))?;
        let (x, vectors) = match &normalization {
            Normalization::Training(op) => {
                let running = op.running;
                let running = [running.map(|(mean, _)| mean), running.map(|(_, var)| var)];
                (op.x, [op.weight, op.bias, running[0], running[1]])
            }
            Normalization::Evaluation(op) => {
                let (Statistics::Running { mean, var: spread, .. }
                | Statistics::Saved { mean, invstd: spread }) = op.statistics;
                (op.x, [op.weight, op.bias, Some(mean), Some(spread)])
            }
        };
        let fits = self.has_kernel(x)
            && self.alike(x, y)
            && vectors.into_iter().all(|vector| self.is_float32(vector));
        fits.then_some((normalization, y))
    }

    /// Whether the kernels can read the value: rows by channels in fp32 or bf16.
    pub(super) fn has_kernel(&self, value: ValueId) -> bool {
        let info = self.info(value);
        info.channels_last && matches!(info.dtype, Dtype::Float32 | Dtype::Bfloat16)
    }

    /// Whether an optional value is fp32 if it is present.
    pub(super) fn is_float32(&self, value: Option<ValueId>) -> bool {
        value.is_none_or(|value| self.dtype(value) == Dtype::Float32)
    }

    /// Whether two values have one shape and type, in any layout.
    pub(super) fn congruent(&self, a: ValueId, b: ValueId) -> bool {
        let (a, b) = (self.info(a), self.info(b));
        a.shape == b.shape && a.dtype == b.dtype
    }

    fn training(&self, index: usize) -> Option<Normalization> {
        let call = self
            .call(index, TRAINING)
            .filter(|call| call.args.get(5).and_then(Arg::bool) == Some(true))?;
        Some(Normalization::Training(BatchNorm {
            x: call.tensor(0)?,
            moments: None,
            weight: call.tensor(1),
            bias: call.tensor(2),
            residual: None,
            running: call.tensor(3).zip(call.tensor(4)),
            momentum: call.args.get(6)?.float()?,
            eps: call.args.get(7)?.float()?,
            activation: Activation::IDENTITY,
        }))
    }

    fn evaluation(&self, index: usize) -> Option<Normalization> {
        // The other results are read by its backward, which the kernel for evaluation does not
        // serve.
        let alone = self.output(index, 1).is_none() && self.output(index, 2).is_none();
        let call = self.call(index, EVALUATION).filter(|_| alone)?;
        let (mean, var, eps) = (call.tensor(3)?, call.tensor(4)?, call.args.get(6)?.float()?);
        Some(Normalization::Evaluation(BatchNormApply {
            x: call.tensor(0)?,
            weight: call.tensor(1),
            bias: call.tensor(2),
            residual: None,
            statistics: Statistics::Running { mean, var, eps },
            activation: Activation::IDENTITY,
        }))
    }
}
