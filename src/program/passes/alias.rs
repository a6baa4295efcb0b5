//! `detach` makes another name for the same tensor: there is no autograd in a program. So does
//! `clone`, which torch traces in front of an activation in place: nothing in a program changes.

use crate::program::{Arg, Call, Op, Program, ValueId};

pub fn remove_aliases(program: &mut Program) {
    let mut name: Vec<ValueId> = (0..program.values.len()).map(ValueId).collect();
    let mut fresh = vec![false; program.values.len()];
    let values = &program.values;
    program.instructions.retain_mut(|instruction| {
        instruction.op.for_each_value_mut(|value| *value = name[value.0]);
        let Op::Call(call) = &instruction.op else { return true };
        let first = instruction.outputs.first().copied().flatten();
        let (Some(source), Some(result)) = (call.tensor(0), first) else { return true };
        let same = fresh[source.0] && values[source.0] == values[result.0];
        let alias = call.is("aten::detach") || same && is_clone(call);
        match alias {
            true => name[result.0] = source,
            false => fresh[result.0] = makes_memory(call),
        }
        !alias
    });
    program.outputs.values_mut().for_each(|value| *value = name[value.0]);
}

/// What activations come behind. A copy of an input, or of a view of one, stays a copy: buffers are
/// overwritten with the program's outputs one after the other.
fn makes_memory(call: &Call) -> bool {
    const NAMES: [&str; 3] =
        ["aten::_native_batch_norm_legit_functional", "aten::add", "aten::convolution"];
    NAMES.contains(&call.name.as_str())
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
