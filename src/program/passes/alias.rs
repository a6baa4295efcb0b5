//! `detach` makes another name for the same tensor: there is no autograd in a program.

use crate::program::{Op, Program, ValueId};

pub fn remove_aliases(program: &mut Program) {
    let mut name: Vec<ValueId> = (0..program.values.len()).map(ValueId).collect();
    program.instructions.retain_mut(|instruction| {
        instruction.op.for_each_value_mut(|value| *value = name[value.0]);
        let Op::Call(call) = &instruction.op else { return true };
        match (call.is("aten::detach"), call.tensor(0), instruction.outputs.first()) {
            (true, Some(source), Some(Some(alias))) => {
                name[alias.0] = source;
                false
            }
            _ => true,
        }
    });
    program.outputs.values_mut().for_each(|value| *value = name[value.0]);
}
