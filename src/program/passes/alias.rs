//! `detach` makes another name for the same tensor: there is no autograd in a program. So does
//! `clone`, which torch traces in front of an activation in place: nothing in a program changes.

use crate::program::{Arg, Call, Op, Program, ValueId};

pub fn remove_aliases(program: &mut Program) {
    let mut name: Vec<ValueId> = (0..program.values.len()).map(ValueId).collect();
    program.instructions.retain_mut(|instruction| {
        instruction.op.for_each_value_mut(|value| *value = name[value.0]);
        let Op::Call(call) = &instruction.op else { return true };
        match (call.tensor(0), instruction.outputs.first()) {
            (Some(source), Some(Some(alias)))
                if call.is("aten::detach")
                    || is_clone(call) && program.values[source.0] == program.values[alias.0] =>
            {
                name[alias.0] = source;
                false
            }
            _ => true,
        }
    });
    program.outputs.values_mut().for_each(|value| *value = name[value.0]);
}

fn is_clone(call: &Call) -> bool {
    call.is("aten::clone") && call.args.get(1).is_none_or(is_preserved)
}

fn is_preserved(format: &Arg) -> bool {
    match format {
        Arg::None => true,
        Arg::Some(format) => is_preserved(format),
        Arg::MemoryFormat(format) => format == "preserve_format",
        _ => false,
    }
}
