//! How long the values of a program are needed.

use crate::program::{Instruction, Op, Program, ValueId};

/// Drops the instructions that compute nothing that is used. Unused results of the others lose their
/// place, so that the engine frees them at once.
pub fn remove_dead_code(program: &mut Program) {
    let mut is_used = vec![false; program.values.len()];
    program.outputs.values().for_each(|value| is_used[value.0] = true);
    for instruction in program.instructions.iter_mut().rev() {
        for output in &mut instruction.outputs {
            *output = output.filter(|value| is_used[value.0]);
        }
        if is_needed(instruction) {
            instruction.op.for_each_value(|value| is_used[value.0] = true);
        }
    }
    program.instructions.retain(is_needed);
}

/// A captured graph is functional, so an instruction has no effect but its results, except for one
/// that moves a generator of random numbers or returns nothing at all, such as an assertion.
fn is_needed(instruction: &Instruction) -> bool {
    let has_effect =
        matches!(&instruction.op, Op::Call(call) if call.draws) || instruction.outputs.is_empty();
    has_effect || instruction.outputs.iter().any(Option::is_some)
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

    #[test]
    fn draws_and_assertions_stay_though_nothing_uses_them() {
        let mut drawn = call("aten::rand_like", tensors(&[0]), &[1]);
        let Op::Call(draw) = &mut drawn.op else { panic!("a call") };
        draw.draws = true;
        let unused = call("aten::relu", tensors(&[0]), &[2]);
        let assertion = call("aten::_assert_async", tensors(&[0]), &[]);
        let mut program = program(vec![drawn, unused, assertion], 0);
        remove_dead_code(&mut program);
        assert_eq!(names(&program), ["aten::rand_like", "aten::_assert_async"]);
    }
}
