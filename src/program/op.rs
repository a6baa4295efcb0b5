//! The operations of a program.

use super::{Arg, Convolution, ConvolutionGradInput, ConvolutionGradWeight, ValueId};

/// An operation of torch, run by torch's dispatcher.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// With its namespace: `aten::convolution`.
    pub name: String,
    pub overload: String,
    /// Every argument of the schema, defaults filled in.
    pub args: Vec<Arg>,
    /// The one result is a list of tensors, whose items are the outputs.
    pub returns_list: bool,
}

impl Call {
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }

    pub fn tensor(&self, index: usize) -> Option<ValueId> {
        self.args.get(index).and_then(Arg::tensor)
    }
}

/// Batch norm in training mode, the residual added, then ReLU, in one operation.
///
/// Outputs: y, save_mean, save_invstd, running_mean, running_var.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    pub x: ValueId,
    pub weight: Option<ValueId>,
    pub bias: Option<ValueId>,
    pub residual: Option<ValueId>,
    /// The running mean and variance before this step.
    pub running: Option<(ValueId, ValueId)>,
    pub momentum: f64,
    pub eps: f64,
    pub relu: bool,
}

/// Outputs: grad_x, grad_weight, grad_bias, grad_residual (the gradient behind the ReLU).
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormBackward {
    pub grad_y: ValueId,
    /// The forward's output, where a ReLU masks the gradient.
    pub y: Option<ValueId>,
    pub x: ValueId,
    pub weight: Option<ValueId>,
    pub save_mean: ValueId,
    pub save_invstd: ValueId,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Call(Call),
    BatchNorm(BatchNorm),
    BatchNormBackward(BatchNormBackward),
    Convolution(Convolution),
    ConvolutionGradInput(ConvolutionGradInput),
    ConvolutionGradWeight(ConvolutionGradWeight),
}

impl Op {
    pub fn name(&self) -> String {
        match self {
            Op::Call(call) if call.overload.is_empty() => call.name.clone(),
            Op::Call(call) => format!("{}.{}", call.name, call.overload),
            Op::BatchNorm(op) => match (op.residual.is_some(), op.relu) {
                (true, true) => "batch_norm_add_relu".into(),
                (true, false) => "batch_norm_add".into(),
                (false, true) => "batch_norm_relu".into(),
                (false, false) => "batch_norm".into(),
            },
            Op::BatchNormBackward(op) if op.y.is_some() => "batch_norm_relu_backward".into(),
            Op::BatchNormBackward(_) => "batch_norm_backward".into(),
            Op::Convolution(_) => "convolution".into(),
            Op::ConvolutionGradInput(op) if op.add.is_some() => "convolution_grad_input_add".into(),
            Op::ConvolutionGradInput(_) => "convolution_grad_input".into(),
            Op::ConvolutionGradWeight(_) => "convolution_grad_weight".into(),
        }
    }

    pub fn for_each_value_mut(&mut self, mut visit: impl FnMut(&mut ValueId)) {
        match self {
            Op::Call(call) => {
                call.args.iter_mut().for_each(|arg| arg.for_each_value_mut(&mut visit));
            }
            Op::BatchNorm(op) => {
                visit(&mut op.x);
                op.weight
                    .iter_mut()
                    .chain(&mut op.bias)
                    .chain(&mut op.residual)
                    .for_each(&mut visit);
                if let Some((mean, var)) = &mut op.running {
                    visit(mean);
                    visit(var);
                }
            }
            Op::BatchNormBackward(op) => {
                visit(&mut op.grad_y);
                op.y.iter_mut().chain(&mut op.weight).for_each(&mut visit);
                visit(&mut op.x);
                visit(&mut op.save_mean);
                visit(&mut op.save_invstd);
            }
            Op::Convolution(op) => {
                visit(&mut op.x);
                visit(&mut op.weight);
                op.bias.iter_mut().for_each(visit);
            }
            Op::ConvolutionGradInput(op) => {
                visit(&mut op.grad_y);
                visit(&mut op.weight);
                op.add.iter_mut().for_each(visit);
            }
            Op::ConvolutionGradWeight(op) => {
                visit(&mut op.grad_y);
                visit(&mut op.x);
                visit(&mut op.weight);
            }
        }
    }

    pub fn for_each_value(&self, mut visit: impl FnMut(ValueId)) {
        match self {
            // A graph of DenseNet's size is walked often: do not clone its argument lists.
            Op::Call(call) => call.args.iter().for_each(|arg| arg.for_each_value(&mut visit)),
            other => other.clone().for_each_value_mut(|value| visit(*value)),
        }
    }
}
