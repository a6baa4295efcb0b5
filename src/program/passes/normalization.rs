//! The batch norms of a graph, in training and in evaluation mode.

use super::fuse_batch_norm::Graph;
use crate::activation::Activation;
use crate::program::{Arg, BatchNorm, BatchNormApply, Op, Statistics, ValueId};

const TRAINING: &str = "aten::_native_batch_norm_legit_functional";
const EVALUATION: &str = "aten::_native_batch_norm_legit_no_training";

/// A batch norm, of whose kind only the last step needs to know.
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
    /// The batch norm that an instruction is, if there is a kernel for it, and its result.
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
        // Its backward would read the other results.
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
