//! Goes through a program, instruction by instruction.

use std::time::{Duration, Instant};

use tch::Tensor;

use super::batch_norm;
use super::call::{self, Fallback};
use super::values::{Outputs, Poll};
use crate::error::{Error, Result};
use crate::program::{passes, Input, Instruction, Op, Program, ValueId};

/// A step of a large network takes seconds; nobody should wait that long for Ctrl-C.
const POLL_EVERY: Duration = Duration::from_millis(100);

pub struct Engine {
    program: Program,
    /// For each instruction the values that nobody reads after it.
    last_uses: Vec<Vec<ValueId>>,
    fallback: Box<dyn Fallback>,
}

/// What a run gives back; gradients and buffers in the order of the program's outputs.
pub struct Results {
    pub loss: Option<Tensor>,
    pub predictions: Option<Tensor>,
    pub gradients: Vec<Tensor>,
    pub buffers: Vec<Tensor>,
}

impl Engine {
    pub fn new(program: Program, fallback: Box<dyn Fallback>) -> Engine {
        let last_uses = passes::last_uses(&program);
        Engine { program, last_uses, fallback }
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Runs the program; `bind` gives the tensor of an input.
    pub fn run(
        &self,
        bind: &dyn Fn(usize, &Input) -> Result<Tensor>,
        poll: &mut Poll<'_>,
    ) -> Result<Results> {
        let mut values = Values(Vec::new());
        values.0.resize_with(self.program.values.len(), || None);
        for (index, input) in self.program.inputs.iter().enumerate() {
            let tensor = bind(index, input)?;
            let shape = &self.program.values[input.value.0].shape;
            if tensor.size() != *shape {
                return Err(Error::InputShape {
                    name: input.name.clone(),
                    expected: shape.clone(),
                    got: tensor.size(),
                });
            }
            values.0[input.value.0] = Some(tensor);
        }
        // Nothing in a program is differentiated: the backward is part of it.
        let _no_grad = tch::no_grad_guard();
        let mut polled = Instant::now();
        for (instruction, finished) in self.program.instructions.iter().zip(&self.last_uses) {
            let outputs = self.execute(instruction, &values)?;
            for (place, tensor) in instruction.outputs.iter().zip(outputs) {
                if let Some(value) = place {
                    values.0[value.0] = tensor;
                }
            }
            finished.iter().for_each(|value| values.0[value.0] = None);
            if polled.elapsed() >= POLL_EVERY {
                poll()?;
                polled = Instant::now();
            }
        }
        self.collect(&values)
    }

    fn execute(&self, instruction: &Instruction, values: &Values) -> Result<Outputs> {
        let lookup = |value: ValueId| values.get(value);
        match &instruction.op {
            Op::Call(call) => {
                call::run(call, instruction.outputs.len(), &lookup, self.fallback.as_ref())
            }
            Op::BatchNorm(op) => batch_norm::forward(op, &lookup),
            Op::BatchNormBackward(op) => {
                let wanted = instruction.outputs.get(3).copied().flatten().is_some();
                batch_norm::backward(op, wanted, &lookup)
            }
        }
    }

    fn collect(&self, values: &Values) -> Result<Results> {
        let outputs = &self.program.outputs;
        let named = |list: &[(String, ValueId)]| {
            list.iter().map(|(_, value)| values.get(*value)).collect::<Result<Vec<_>>>()
        };
        Ok(Results {
            loss: outputs.loss.map(|value| values.get(value)).transpose()?,
            predictions: outputs.predictions.map(|value| values.get(value)).transpose()?,
            gradients: named(&outputs.gradients)?,
            buffers: named(&outputs.buffers)?,
        })
    }
}

struct Values(Vec<Option<Tensor>>);

impl Values {
    fn get(&self, value: ValueId) -> Result<Tensor> {
        match &self.0[value.0] {
            Some(tensor) => Ok(tensor.shallow_clone()),
            None => Err(Error::Capture(format!("value {} is not there when read", value.0))),
        }
    }
}
