//! Folds a batch norm in evaluation mode, which scales and shifts each channel, into the weight and
//! the bias of the convolution before it. The convolution also takes the residual add and the
//! activation after the batch norm.

use super::graph::{remove_marked, Graph};
use crate::program::{BatchNormApply, Convolution, Fold, Op, Program, Statistics};

pub fn fold_batch_norm(program: &mut Program) {
    let graph = Graph::new(program);
    let mut is_folded = vec![false; program.instructions.len()];
    let mut folds = Vec::new();
    for index in 0..program.instructions.len() {
        let Op::BatchNormApply(norm) = graph.op(index) else { continue };
        let before = graph.definition(norm.x).filter(|_| graph.has_one_use(norm.x));
        let Some(before) = before else { continue };
        let Op::Convolution(convolution) = graph.op(before) else { continue };
        // Depthwise kernels add no residual.
        let is_depthwise = graph.info(convolution.weight).shape[1] == 1;
        if norm.residual.is_some() && is_depthwise {
            continue;
        }
        if let Some(op) = fold(convolution, norm) {
            folds.push((index, op));
            is_folded[before] = true;
        }
    }
    for (index, op) in folds {
        program.instructions[index].op = Op::Convolution(op);
    }
    remove_marked(program, &is_folded);
}

fn fold(convolution: &Convolution, norm: &BatchNormApply) -> Option<Convolution> {
    let Statistics::Running { mean, var, eps } = norm.statistics else { return None };
    // A batch norm scales each channel, but blocks of channels share one weight.
    if convolution.fold.is_some() || convolution.window.num_blocks > 1 {
        return None;
    }
    let fold =
        Fold { weight: norm.weight, bias: norm.bias, running_mean: mean, running_var: var, eps };
    let (residual, activation) = (norm.residual, norm.activation);
    Some(Convolution { fold: Some(fold), residual, activation, ..convolution.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::program::testing::{convolution, names, program};
    use crate::program::{Instruction, ValueId};

    fn norm(x: usize, residual: Option<usize>, y: usize) -> Instruction {
        let (mean, var) = (ValueId(30), ValueId(31));
        let op = Op::BatchNormApply(BatchNormApply {
            x: ValueId(x),
            weight: None,
            bias: None,
            residual: residual.map(ValueId),
            statistics: Statistics::Running { mean, var, eps: 1e-5 },
            activation: Activation::RELU,
        });
        Instruction { op, outputs: vec![Some(ValueId(y))] }
    }

    fn folded(instructions: Vec<Instruction>, read: usize) -> Vec<String> {
        let mut program = program(instructions, read);
        fold_batch_norm(&mut program);
        names(&program)
    }

    #[test]
    fn the_convolution_takes_the_place_of_the_batch_norm() {
        let list = vec![convolution(1, 2), convolution(1, 3), norm(2, Some(3), 4)];
        assert_eq!(folded(list, 4), ["convolution", "convolution_batch_norm_add_relu"]);
    }

    #[test]
    fn values_with_other_uses_stay() {
        let list = vec![convolution(1, 2), norm(2, None, 4)];
        assert_eq!(folded(list.clone(), 4), ["convolution_batch_norm_relu"]);
        assert_eq!(folded(list, 2), ["convolution", "batch_norm_apply_relu"]);
        let twice = vec![convolution(1, 2), norm(2, None, 4), norm(4, None, 5)];
        assert_eq!(folded(twice, 5), ["convolution_batch_norm_relu", "batch_norm_apply_relu"]);
    }

    #[test]
    fn depthwise_kernels_add_no_residual() {
        let named = |residual| {
            let mut program = program(vec![convolution(1, 2), norm(2, residual, 4)], 4);
            program.values[0].shape = vec![3, 1, 3, 3];
            fold_batch_norm(&mut program);
            names(&program)
        };
        assert_eq!(named(Some(1)), ["convolution", "batch_norm_apply_add_relu"]);
        assert_eq!(named(None), ["convolution_batch_norm_relu"]);
    }
}
