//! A program: inputs, instructions on numbered values, and outputs.

use serde::Deserialize;

use super::{Op, ValueId, ValueInfo};

/// What the caller passes as an input of the program.
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

/// The values that are returned to the caller; gradients and buffers by the name of their input.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outputs {
    pub loss: Option<ValueId>,
    pub predictions: Option<ValueId>,
    pub gradients: Vec<(String, ValueId)>,
    pub buffers: Vec<(String, ValueId)>,
    /// All results of a graph that is no training step, in order. They outlive a run.
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

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut ValueId> {
        let named = self.gradients.iter_mut().chain(&mut self.buffers).map(|(_, value)| value);
        self.loss.iter_mut().chain(&mut self.predictions).chain(named).chain(&mut self.results)
    }
}

#[derive(Clone, Debug)]
pub struct Instruction {
    pub op: Op,
    /// One place for each result of the operation; `None` where it is not used.
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
    /// Adds a value that no instruction defines or uses yet.
    pub(super) fn new_value(&mut self, info: ValueInfo) -> ValueId {
        self.values.push(info);
        ValueId(self.values.len() - 1)
    }

    /// Whether the value is a parameter, which stays the same until the caller changes it.
    pub fn is_parameter(&self, value: ValueId) -> bool {
        self.inputs.iter().any(|input| input.value == value && input.role == Role::Parameter)
    }
}
