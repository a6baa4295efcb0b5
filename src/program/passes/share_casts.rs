//! Casts of a parameter to bf16 that are one and the same are done once: the optimizer keeps one
//! copy of each.

use std::collections::HashMap;

use crate::program::{Dtype, Op, Program, ValueId};

pub fn share_casts(program: &mut Program) {
    let mut first: HashMap<ValueId, ValueId> = HashMap::new();
    let mut name: Vec<ValueId> = (0..program.values.len()).map(ValueId).collect();
    for instruction in &program.instructions {
        let Op::Call(call) = &instruction.op else { continue };
        let (Some(from), Some(Some(to))) = (call.tensor(0), instruction.outputs.first()) else {
            continue;
        };
        let narrow = program.values[to.0].dtype == Dtype::Bfloat16;
        if call.is("aten::_to_copy") && narrow && program.is_parameter(from) {
            name[to.0] = *first.entry(from).or_insert(*to);
        }
    }
    for instruction in &mut program.instructions {
        instruction.op.for_each_value_mut(|value| *value = name[value.0]);
    }
}
