//! A tensor with two users gets its gradient in two parts, which are added. Where a convolution
//! computes one part, it adds the other while it stores its result.

use super::graph::Graph;
use crate::program::{ConvolutionGradInput, Instruction, Op, Program};

pub fn fuse_gradient_adds(program: &mut Program) {
    for index in 0..program.instructions.len() {
        // A sum of three parts is two adds, and the second one finds the first one fused.
        if let Some((at, op)) = find(program, index) {
            program.instructions[index].op = Op::ConvolutionGradInput(op);
            program.instructions[at].outputs = vec![None];
        }
    }
    program.instructions.retain(|Instruction { op, outputs }| {
        !matches!(op, Op::ConvolutionGradInput(_)) || outputs.iter().any(Option::is_some)
    });
}

/// The index of the convolution that takes over the add at `index`, and its new operation.
fn find(program: &Program, index: usize) -> Option<(usize, ConvolutionGradInput)> {
    let Op::Call(call) = &program.instructions[index].op else { return None };
    if !call.is("aten::add") {
        return None;
    }
    let graph = Graph::new(program);
    let (a, b) = graph.addition(index)?;
    if a == b || !graph.alike(a, b) || !graph.info(a).channels_last {
        return None;
    }
    // The later part is preferred: when it is computed, the other one is there.
    let mut parts = [(graph.definition(a), a, b), (graph.definition(b), b, a)];
    parts.sort_by_key(|(definition, ..)| std::cmp::Reverse(*definition));
    parts.into_iter().find_map(|(definition, part, other)| {
        let at = definition.filter(|_| graph.has_one_use(part))?;
        match graph.op(at) {
            Op::ConvolutionGradInput(op) if op.add.is_none() => {
                Some((at, ConvolutionGradInput { add: Some(other), ..op.clone() }))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::testing::{add, grad_input, program_with};
    use crate::program::{Outputs, ValueId};

    fn fused(instructions: Vec<Instruction>, read: &[usize]) -> Vec<String> {
        let gradients = read.iter().map(|value| (value.to_string(), ValueId(*value))).collect();
        let outputs = Outputs { gradients, ..Outputs::default() };
        let mut program = program_with(instructions, outputs);
        fuse_gradient_adds(&mut program);
        let described = program.instructions.iter().map(|Instruction { op, outputs }| match op {
            Op::ConvolutionGradInput(op) => {
                format!("{:?} += {:?}", outputs[0].map(|v| v.0), op.add.map(|v| v.0))
            }
            other => other.name(),
        });
        described.collect()
    }

    #[test]
    fn the_later_part_takes_the_add() {
        let list = fused(vec![grad_input(1, 2), grad_input(3, 4), add(2, 4, 5, 1)], &[5]);
        assert_eq!(list, ["Some(2) += None", "Some(5) += Some(2)"]);
    }

    #[test]
    fn three_parts_take_two_adds() {
        let first = vec![grad_input(1, 2), grad_input(3, 4), add(2, 4, 5, 1)];
        let three = [first, vec![grad_input(6, 7), add(5, 7, 8, 1)]].concat();
        let expected = ["Some(2) += None", "Some(5) += Some(2)", "Some(8) += Some(5)"];
        assert_eq!(fused(three, &[8]), expected);
    }

    #[test]
    fn other_uses_and_scaled_adds_stay() {
        let read = vec![grad_input(1, 2), add(2, 3, 5, 1)];
        assert_eq!(fused(read, &[2, 5]), ["Some(2) += None", "aten::add.Tensor"]);
        let scaled = vec![grad_input(1, 2), add(2, 3, 5, 2)];
        assert_eq!(fused(scaled, &[5]), ["Some(2) += None", "aten::add.Tensor"]);
    }
}
