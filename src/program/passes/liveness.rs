//! How long the values of a program are needed.

use crate::program::{Program, ValueId};

/// Drops the instructions that compute nothing that is used. A captured graph is functional, so an
/// instruction has no effect but its results. Unused results of the others lose their place, so
/// that the engine frees them at once.
pub fn remove_dead_code(program: &mut Program) {
    let mut is_used = vec![false; program.values.len()];
    program.outputs.values().for_each(|value| is_used[value.0] = true);
    for instruction in program.instructions.iter_mut().rev() {
        for output in &mut instruction.outputs {
            *output = output.filter(|value| is_used[value.0]);
        }
        if instruction.outputs.iter().any(Option::is_some) {
            instruction.op.for_each_value(|value| is_used[value.0] = true);
        }
    }
    program.instructions.retain(|instruction| instruction.outputs.iter().any(Option::is_some));
}

/// For each instruction the values that it is the last to read, which can be freed after it. Inputs
/// and outputs of the program are in no list: they outlive it.
pub fn last_uses(program: &Program) -> Vec<Vec<ValueId>> {
    let mut is_kept = vec![false; program.values.len()];
    program.inputs.iter().for_each(|input| is_kept[input.value.0] = true);
    program.outputs.values().for_each(|value| is_kept[value.0] = true);
    let mut lists = vec![Vec::new(); program.instructions.len()];
    for (instruction, list) in program.instructions.iter().zip(&mut lists).rev() {
        instruction.op.for_each_value(|value| {
            if !std::mem::replace(&mut is_kept[value.0], true) {
                list.push(value);
            }
        });
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::testing::{add, call, names, program, tensors};

    #[test]
    fn unused_instructions_are_dropped_and_values_freed_after_their_last_use() {
        let relu = |x, y| call("aten::relu", tensors(&[x]), &[y]);
        let mut program = program(vec![relu(0, 1), relu(1, 2), relu(2, 3), add(1, 2, 4, 1)], 4);
        remove_dead_code(&mut program);
        assert_eq!(names(&program), ["aten::relu", "aten::relu", "aten::add.Tensor"]);
        let lists: Vec<Vec<usize>> = last_uses(&program)
            .iter()
            .map(|list| list.iter().map(|value| value.0).collect())
            .collect();
        assert_eq!(lists, [vec![0], vec![], vec![1, 2]]);
    }
}
