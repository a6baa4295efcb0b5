//! A program as text, one instruction per line.

use std::fmt::{Display, Formatter, Result};

use super::{Instruction, Program, ValueId};

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Program { inputs, instructions, .. } = self;
        writeln!(f, "{} inputs, {} instructions", inputs.len(), instructions.len())?;
        for (index, instruction) in instructions.iter().enumerate() {
            write!(f, "{index:5}  {}(", instruction.op.name())?;
            let mut separator = "";
            let mut result = Ok(());
            instruction.op.for_each_value(|value| {
                result = result.and_then(|()| write!(f, "{separator}%{}", value.0));
                separator = ", ";
            });
            result?;
            write!(f, ") ->")?;
            for value in instruction.outputs.iter().flatten() {
                write!(f, " {}", self.describe(*value))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Program {
    /// The types of the values that an instruction reads and returns.
    pub fn shapes(&self, instruction: &Instruction) -> String {
        let mut reads = Vec::new();
        instruction.op.for_each_value(|value| reads.push(self.describe(value)));
        let gives = instruction.outputs.iter().flatten().map(|value| self.describe(*value));
        format!("{} -> {}", reads.join(", "), gives.collect::<Vec<_>>().join(", "))
    }

    fn describe(&self, value: ValueId) -> String {
        let info = &self.values[value.0];
        let dtype = info.dtype;
        let layout = if info.channels_last { " nhwc" } else { "" };
        format!("%{}: {dtype}{:?}{layout}", value.0, info.shape)
    }
}
