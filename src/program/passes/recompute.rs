//! Recomputes results of batch norms in the backward instead of keeping them: one more pass over
//! memory for each, and much less memory for all.

use super::graph::Graph;
use crate::program::{BatchNorm, BatchNormApply, Instruction, Op, Program, Statistics, ValueId};

/// A result that the backward is to compute again.
struct Recomputation {
    y: ValueId,
    op: BatchNormApply,
    /// The instructions of the backward that read it, in order.
    users: Vec<usize>,
}

/// A batch norm is recomputed only if its inputs are kept in any case, so that nothing else has to
/// be recomputed before it.
pub fn recompute(program: &mut Program) {
    let recomputations = find(&Graph::new(program));
    let mut before: Vec<Vec<Instruction>> = vec![Vec::new(); program.instructions.len()];
    for Recomputation { y, op, users } in recomputations {
        let copy = program.new_value(program.values[y.0].clone());
        let op = Op::BatchNormApply(op);
        before[users[0]].push(Instruction { op, outputs: vec![Some(copy)] });
        for user in users {
            let replace = |value: &mut ValueId| *value = if *value == y { copy } else { *value };
            program.instructions[user].op.for_each_value_mut(replace);
        }
    }
    let old = std::mem::take(&mut program.instructions);
    for (instruction, before) in old.into_iter().zip(before) {
        program.instructions.extend(before);
        program.instructions.push(instruction);
    }
}

fn find(graph: &Graph) -> Vec<Recomputation> {
    let loss = graph.program.outputs.loss.and_then(|loss| graph.definition(loss));
    let mut is_dropped = vec![false; graph.program.values.len()];
    let mut found = Vec::new();
    for index in 0..loss.unwrap_or(0) {
        let Instruction { op: Op::BatchNorm(op), outputs } = &graph.program.instructions[index]
        else {
            continue;
        };
        let [Some(y), Some(mean), Some(invstd), ..] = outputs[..] else { continue };
        let users = graph.users(y).iter().copied();
        let users: Vec<usize> = users.filter(|user| Some(*user) > loss).collect();
        let Some(&first) = users.first() else { continue };
        let is_kept = |value: ValueId| {
            !is_dropped[value.0] && graph.users(value).last().is_some_and(|last| *last >= first)
        };
        if !graph.is_output(y) && op.residual.into_iter().chain([op.x]).all(is_kept) {
            is_dropped[y.0] = true;
            found.push(Recomputation { y, op: applied(op, mean, invstd), users });
        }
    }
    found
}

/// The batch norm with the statistics that its forward has saved.
fn applied(op: &BatchNorm, mean: ValueId, invstd: ValueId) -> BatchNormApply {
    let BatchNorm { x, weight, bias, residual, activation, .. } = *op;
    let statistics = Statistics::Saved { mean, invstd };
    BatchNormApply { x, weight, bias, residual, statistics, activation }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::testing::{
        batch_norm, batch_norm_backward, convolution, grad_weight, names, program,
    };

    #[test]
    fn the_backward_reads_a_copy() {
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
    fn a_batch_norm_with_a_dropped_residual_is_kept() {
        // The residual of the second block is the result of the first one.
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
        assert_eq!(again, [6], "only that of the first block");
    }

    #[test]
    fn inference_recomputes_nothing() {
        let mut program = program(vec![batch_norm(1, None, 2), convolution(2, 5)], 5);
        recompute(&mut program);
        assert_eq!(program.instructions.len(), 2);
    }
}
