//! A training step as a list of typed operations on numbered values. No tensors here.
//!
//! `capture` is the form in which a traced graph arrives; `lower` turns it into a [`Program`];
//! `passes` rewrite the program; the engine runs it.

mod arg;
mod capture;
mod convolution;
mod cost;
mod listing;
mod lower;
mod op;
pub mod passes;
mod report;
mod value;

pub use arg::{Arg, Number};
pub use capture::Capture;
pub use convolution::{
    Algorithm, Convolution, ConvolutionGradInput, ConvolutionGradWeight, Fold, Load, Window,
};
pub use cost::Cost;
pub use op::{
    BatchNorm, BatchNormApply, BatchNormBackward, Call, CrossEntropy, Mask, Op, Statistics,
};
pub use report::{Report, Row};
pub use value::{Dtype, ValueId, ValueInfo};

use serde::Deserialize;

/// What an input of the program is to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Parameter,
    Buffer,
    /// A constant that the trace lifted out of the model.
    Constant,
    /// Data of the batch: images, then labels.
    Batch,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub name: String,
    pub role: Role,
    pub value: ValueId,
}

/// The values that the caller wants back; gradients and buffers by the name of their input.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outputs {
    pub loss: Option<ValueId>,
    pub predictions: Option<ValueId>,
    pub gradients: Vec<(String, ValueId)>,
    pub buffers: Vec<(String, ValueId)>,
    /// Of a graph by itself: all that it gives, in order. The caller keeps them beyond a run.
    #[serde(default)]
    pub results: Vec<ValueId>,
}

impl Outputs {
    pub fn values(&self) -> impl Iterator<Item = ValueId> + '_ {
        let named = self.gradients.iter().chain(&self.buffers).map(|(_, value)| *value);
        self.loss
            .into_iter()
            .chain(self.predictions)
            .chain(named)
            .chain(self.results.iter().copied())
    }

    fn values_mut(&mut self) -> impl Iterator<Item = &mut ValueId> {
        let named = self.gradients.iter_mut().chain(&mut self.buffers).map(|(_, value)| value);
        self.loss.iter_mut().chain(&mut self.predictions).chain(named).chain(&mut self.results)
    }
}

#[derive(Clone, Debug)]
pub struct Instruction {
    pub op: Op,
    /// One place for each result of the operation; `None` where nobody reads it.
    pub outputs: Vec<Option<ValueId>>,
}

#[derive(Clone, Debug)]
pub struct Program {
    pub values: Vec<ValueInfo>,
    pub inputs: Vec<Input>,
    pub instructions: Vec<Instruction>,
    pub outputs: Outputs,
}

impl Program {
    /// A value that nothing makes or reads yet.
    fn new_value(&mut self, info: ValueInfo) -> ValueId {
        self.values.push(info);
        ValueId(self.values.len() - 1)
    }

    /// Whether the value is a parameter of the caller, and so the same until the caller changes it.
    pub fn is_parameter(&self, value: ValueId) -> bool {
        self.inputs.iter().any(|input| input.value == value && input.role == Role::Parameter)
    }
}
