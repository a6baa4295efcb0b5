//! Removes `detach`, which makes no difference in a program without autograd, and the copies that
//! torch traces before an activation in place: no operation of a program overwrites a value.

use super::graph::{remove_marked, Replacements};
use crate::program::{Arg, Call, Op, Program};

pub fn remove_aliases(program: &mut Program) {
    let mut replacements = Replacements::new(program);
    let mut is_fresh = vec![false; program.values.len()];
    let mut is_alias = vec![false; program.instructions.len()];
    for (index, instruction) in program.instructions.iter().enumerate() {
        let Op::Call(call) = &instruction.op else { continue };
        let first = instruction.outputs.first().copied().flatten();
        let (Some(source), Some(result)) = (call.tensor(0), first) else { continue };
        let source = replacements.of(source);
        let alike = program.values[source.0] == program.values[result.0];
        is_alias[index] = call.is("aten::detach") || is_clone(call) && alike && is_fresh[source.0];
        match is_alias[index] {
            true => replacements.replace(result, source),
            false => is_fresh[result.0] = allocates(call),
        }
    }
    replacements.apply_to_instructions(program);
    replacements.apply_to_outputs(program);
    remove_marked(program, &is_alias);
}

/// Whether the result has memory of its own, for the operations that activations follow. A copy of
/// an input, or of a view of one, has to stay a copy: the buffers are overwritten with the
/// program's outputs one after the other.
fn allocates(call: &Call) -> bool {
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
