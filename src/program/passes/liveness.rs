//! When a value is read for the last time, its tensor can be freed.

use crate::program::{Program, ValueId};

/// For each instruction the values that it is the last to read. Inputs and outputs of the program
/// are in no list: they outlive it.
pub fn last_uses(program: &Program) -> Vec<Vec<ValueId>> {
    let mut kept = vec![false; program.values.len()];
    program.inputs.iter().for_each(|input| kept[input.value.0] = true);
    program.outputs.values().for_each(|value| kept[value.0] = true);
    let mut lists = vec![Vec::new(); program.instructions.len()];
    for (instruction, list) in program.instructions.iter().zip(&mut lists).rev() {
        instruction.op.for_each_value(|value| {
            if !std::mem::replace(&mut kept[value.0], true) {
                list.push(value);
            }
        });
    }
    lists
}
