//! The operations of a program.

use super::{
    Arg, Attention, AttentionBackward, Convolution, ConvolutionGradInput, ConvolutionGradWeight,
    LayerNorm, LayerNormBackward, ValueId,
};
use crate::activation::Activation;

/// An operation of torch, run by torch's dispatcher.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The name with its namespace: `aten::convolution`.
    pub name: String,
    pub overload: String,
    /// All arguments of the schema, including defaults.
    pub args: Vec<Arg>,
    /// The only result is a list of tensors; its items are the outputs.
    pub returns_list: bool,
    /// It draws random numbers.
    pub draws: bool,
}

impl Call {
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }

    pub fn tensor(&self, index: usize) -> Option<ValueId> {
        self.args.get(index).and_then(Arg::tensor)
    }
}

/// Batch norm in training mode, then a residual add, then an activation.
///
/// Outputs: y, save_mean, save_invstd, running_mean, running_var, scale, shift; the last two are
/// the inputs of a [`Load`](super::Load).
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    pub x: ValueId,
    /// The moments of x, if the operation that computed x computed them too.
    pub moments: Option<ValueId>,
    pub weight: Option<ValueId>,
    pub bias: Option<ValueId>,
    pub residual: Option<ValueId>,
    /// The running mean and variance before this step.
    pub running: Option<(ValueId, ValueId)>,
    pub momentum: f64,
    pub eps: f64,
    pub activation: Activation,
}

/// The statistics that a batch norm is applied with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistics {
    /// The running statistics, in evaluation mode.
    Running { mean: ValueId, var: ValueId, eps: f64 },
    /// The statistics that the forward saved, to recompute its result.
    Saved { mean: ValueId, invstd: ValueId },
}

/// Batch norm with given statistics, then a residual add, then an activation.
///
/// Outputs: y.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormApply {
    pub x: ValueId,
    pub weight: Option<ValueId>,
    pub bias: Option<ValueId>,
    pub residual: Option<ValueId>,
    pub statistics: Statistics,
    pub activation: Activation,
}

/// How a gradient passes the activation after a batch norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mask {
    /// There is no activation, or its gradient was applied before.
    None,
    /// By a mask from the forward's output.
    Output(ValueId),
    /// By a mask from that output, recomputed from x, where there is no residual.
    Recomputed { bias: Option<ValueId> },
}

/// Outputs: grad_x, grad_weight, grad_bias, grad_residual (the gradient before the activation).
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormBackward {
    pub grad_y: ValueId,
    pub activation: Activation,
    pub mask: Mask,
    pub x: ValueId,
    pub weight: Option<ValueId>,
    pub save_mean: ValueId,
    pub save_invstd: ValueId,
}

/// The mean softmax cross-entropy of a batch of `[batch, classes]`.
///
/// Outputs: the loss, and its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropy {
    pub logits: ValueId,
    pub labels: ValueId,
    pub label_smoothing: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Call(Call),
    Attention(Attention),
    AttentionBackward(AttentionBackward),
    BatchNorm(BatchNorm),
    BatchNormApply(BatchNormApply),
    BatchNormBackward(BatchNormBackward),
    Convolution(Convolution),
    ConvolutionGradInput(ConvolutionGradInput),
    ConvolutionGradWeight(ConvolutionGradWeight),
    CrossEntropy(CrossEntropy),
    LayerNorm(LayerNorm),
    LayerNormBackward(LayerNormBackward),
}

impl Op {
    pub fn name(&self) -> String {
        match self {
            Op::Call(call) if call.overload.is_empty() => call.name.clone(),
            Op::Call(call) => format!("{}.{}", call.name, call.overload),
            Op::Attention(_) => "attention".into(),
            Op::AttentionBackward(_) => "attention_backward".into(),
            Op::BatchNorm(op) => format!("batch_norm{}", ending(op.residual, op.activation)),
            Op::BatchNormApply(op) => {
                format!("batch_norm_apply{}", ending(op.residual, op.activation))
            }
            Op::BatchNormBackward(op) if op.mask == Mask::None => "batch_norm_backward".into(),
            Op::BatchNormBackward(op) => format!("batch_norm{}_backward", suffix(op.activation)),
            Op::Convolution(op) => {
                let load = if op.load.is_some() { "load_" } else { "" };
                let fold = if op.fold.is_some() { "_batch_norm" } else { "" };
                format!("{load}convolution{fold}{}", ending(op.residual, op.activation))
            }
            Op::ConvolutionGradInput(op) if op.add.is_some() => "convolution_grad_input_add".into(),
            Op::ConvolutionGradInput(_) => "convolution_grad_input".into(),
            Op::ConvolutionGradWeight(_) => "convolution_grad_weight".into(),
            Op::CrossEntropy(_) => "cross_entropy".into(),
            Op::LayerNorm(_) => "layer_norm".into(),
            Op::LayerNormBackward(op) if op.add.is_some() => "layer_norm_backward_add".into(),
            Op::LayerNormBackward(_) => "layer_norm_backward".into(),
        }
    }

    pub fn for_each_value_mut(&mut self, mut visit: impl FnMut(&mut ValueId)) {
        match self {
            Op::Call(call) => {
                call.args.iter_mut().for_each(|arg| arg.for_each_value_mut(&mut visit));
            }
            Op::Attention(op) => [&mut op.q, &mut op.k, &mut op.v].into_iter().for_each(visit),
            Op::AttentionBackward(op) => {
                let read = [&mut op.grad_y, &mut op.q, &mut op.k, &mut op.v, &mut op.logsumexp];
                read.into_iter().for_each(visit);
            }
            Op::BatchNorm(op) => {
                visit(&mut op.x);
                let optional = [&mut op.moments, &mut op.weight, &mut op.bias, &mut op.residual];
                optional.into_iter().flatten().for_each(&mut visit);
                if let Some((mean, var)) = &mut op.running {
                    visit(mean);
                    visit(var);
                }
            }
            Op::BatchNormApply(op) => {
                visit(&mut op.x);
                let optional = [&mut op.weight, &mut op.bias, &mut op.residual];
                optional.into_iter().flatten().for_each(&mut visit);
                let (Statistics::Running { mean, var: spread, .. }
                | Statistics::Saved { mean, invstd: spread }) = &mut op.statistics;
                visit(mean);
                visit(spread);
            }
            Op::BatchNormBackward(op) => {
                visit(&mut op.grad_y);
                match &mut op.mask {
                    Mask::Output(value) | Mask::Recomputed { bias: Some(value) } => visit(value),
                    Mask::None | Mask::Recomputed { bias: None } => {}
                }
                op.weight.iter_mut().for_each(&mut visit);
                visit(&mut op.x);
                visit(&mut op.save_mean);
                visit(&mut op.save_invstd);
            }
            Op::Convolution(op) => {
                visit(&mut op.x);
                op.load.iter_mut().for_each(|load| load.for_each_value_mut(&mut visit));
                visit(&mut op.weight);
                op.fold.iter_mut().for_each(|fold| fold.for_each_value_mut(&mut visit));
                op.bias.iter_mut().chain(&mut op.residual).for_each(visit);
            }
            Op::ConvolutionGradInput(op) => {
                visit(&mut op.grad_y);
                visit(&mut op.weight);
                op.add.iter_mut().for_each(visit);
            }
            Op::ConvolutionGradWeight(op) => {
                visit(&mut op.grad_y);
                visit(&mut op.x);
                op.load.iter_mut().for_each(|load| load.for_each_value_mut(&mut visit));
                visit(&mut op.weight);
            }
            Op::CrossEntropy(op) => {
                visit(&mut op.logits);
                visit(&mut op.labels);
            }
            Op::LayerNorm(op) => {
                visit(&mut op.x);
                op.weight.iter_mut().chain(&mut op.bias).for_each(visit);
            }
            Op::LayerNormBackward(op) => {
                let read = [&mut op.grad_y, &mut op.x, &mut op.mean, &mut op.rstd];
                read.into_iter().chain(&mut op.weight).chain(&mut op.add).for_each(visit);
            }
        }
    }

    pub fn for_each_value(&self, mut visit: impl FnMut(ValueId)) {
        match self {
            // Large graphs are traversed often: do not clone the arguments of their calls.
            Op::Call(call) => call.args.iter().for_each(|arg| arg.for_each_value(&mut visit)),
            other => other.clone().for_each_value_mut(|value| visit(*value)),
        }
    }
}

fn ending(residual: Option<ValueId>, activation: Activation) -> String {
    let add = if residual.is_some() { "_add" } else { "" };
    format!("{add}{}", suffix(activation))
}

fn suffix(activation: Activation) -> &'static str {
    match activation {
        Activation::IDENTITY => "",
        Activation::RELU => "_relu",
        Activation::RELU6 => "_relu6",
        _ => "_leaky_relu",
    }
}
