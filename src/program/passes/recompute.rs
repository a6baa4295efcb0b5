//! Results of batch norms that the backward needs again are computed again, not kept: a pass over
//! memory for each, for the memory of all.

use super::{find_makers, find_readers, is_read_by_caller};
use crate::program::{BatchNorm, BatchNormApply, Instruction, Op, Program, Statistics, ValueId};

/// Only what a batch norm makes of values that are kept in any case is computed again, so none of
/// it needs anything else to be computed first.
pub fn recompute(program: &mut Program) {
    let loss = program.outputs.loss.and_then(|loss| find_makers(program)[loss.0]);
    let Some(loss) = loss else { return };
    let readers = find_readers(program);
    let mut gone = vec![false; program.values.len()];
    let mut again: Vec<Vec<Instruction>> = vec![Vec::new(); program.instructions.len()];
    for index in 0..loss {
        let Instruction { op: Op::BatchNorm(op), outputs } = &program.instructions[index] else {
            continue;
        };
        let [Some(y), Some(mean), Some(invstd), ..] = outputs[..] else { continue };
        let later: Vec<usize> = readers[y.0].iter().copied().filter(|at| *at > loss).collect();
        let Some(&first) = later.first() else { continue };
        let kept = |value: ValueId| {
            !gone[value.0] && readers[value.0].last().is_some_and(|last| *last >= first)
        };
        if is_read_by_caller(program, y) || !op.residual.into_iter().chain([op.x]).all(kept) {
            continue;
        }
        let op = Op::BatchNormApply(applied(op, mean, invstd));
        gone[y.0] = true;
        let copy = program.new_value(program.values[y.0].clone());
        again[first].push(Instruction { op, outputs: vec![Some(copy)] });
        for reader in later {
            let rename = |value: &mut ValueId| *value = if *value == y { copy } else { *value };
            program.instructions[reader].op.for_each_value_mut(rename);
        }
    }
    let old = std::mem::take(&mut program.instructions);
    for (instruction, again) in old.into_iter().zip(again) {
        program.instructions.extend(again);
        program.instructions.push(instruction);
    }
}

fn applied(op: &BatchNorm, mean: ValueId, invstd: ValueId) -> BatchNormApply {
    let BatchNorm { x, weight, bias, residual, activation, .. } = *op;
    let statistics = Statistics::Saved { mean, invstd };
    BatchNormApply { x, weight, bias, residual, statistics, activation }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        batch_norm, batch_norm_backward, convolution, grad_weight, program,
    };
    use super::*;

    fn names(program: &Program) -> Vec<String> {
        program.instructions.iter().map(|instruction| instruction.op.name()).collect()
    }

    #[test]
    fn the_backward_has_a_copy() {
        let mut program = program(
            vec![
                batch_norm(1, None, 2),
                convolution(2, 5),
                grad_weight(5, 2, 6),
                batch_norm_backward(5, 1, 2, 7),
            ],
            5,
        );
        recompute(&mut program);
        let list =
            ["batch_norm_relu", "convolution", "batch_norm_apply_relu", "convolution_grad_weight"];
        assert_eq!(names(&program)[..4], list);
        let Op::ConvolutionGradWeight(op) = &program.instructions[3].op else { panic!() };
        assert_eq!(program.instructions[2].outputs, [Some(op.x)]);
        assert_eq!(op.x, ValueId(40));
    }

    #[test]
    fn a_residual_that_is_gone_is_not_needed_again() {
        // Two blocks: the second one's residual is the result of the first.
        let mut program = program(
            vec![
                batch_norm(1, None, 2),
                convolution(2, 5),
                batch_norm(5, Some(2), 6),
                convolution(6, 9),
                grad_weight(9, 6, 10),
                batch_norm_backward(9, 5, 6, 11),
                grad_weight(11, 2, 12),
                batch_norm_backward(11, 1, 2, 13),
            ],
            9,
        );
        recompute(&mut program);
        let again: Vec<usize> = names(&program)
            .iter()
            .enumerate()
            .filter(|(_, name)| name.starts_with("batch_norm_apply"))
            .map(|(index, _)| index)
            .collect();
        assert_eq!(again, [6], "the first block's only");
    }

    #[test]
    fn inference_keeps_nothing_anyway() {
        let mut program = program(vec![batch_norm(1, None, 2), convolution(2, 5)], 5);
        recompute(&mut program);
        assert_eq!(program.instructions.len(), 2);
    }
}
