//! In evaluation mode a batch norm is a scale and a shift of each channel: a convolution in front of
//! it has them in its weight and bias, and does what follows while it stores.

use super::{count_uses, find_makers};
use crate::program::{BatchNormApply, Convolution, Fold, Op, Program, Statistics};

pub fn fold_batch_norm(program: &mut Program) {
    let (uses, makers) = (count_uses(program), find_makers(program));
    let mut folded = vec![false; program.instructions.len()];
    for index in 0..program.instructions.len() {
        let Op::BatchNormApply(norm) = &program.instructions[index].op else { continue };
        let Some(maker) = makers[norm.x.0].filter(|_| uses[norm.x.0] == 1) else { continue };
        let Op::Convolution(convolution) = &program.instructions[maker].op else { continue };
        // Depthwise kernels add nothing.
        let depthwise = program.values[convolution.weight.0].shape[1] == 1;
        if norm.residual.is_some() && depthwise {
            continue;
        }
        if let Some(op) = fold(convolution, norm) {
            program.instructions[index].op = Op::Convolution(op);
            folded[maker] = true;
        }
    }
    let mut folded = folded.into_iter();
    program.instructions.retain(|_| !folded.next().unwrap_or(false));
}

fn fold(convolution: &Convolution, norm: &BatchNormApply) -> Option<Convolution> {
    let Statistics::Running { mean, var, eps } = norm.statistics else { return None };
    // A batch norm has a scale for each channel, blocks share one weight.
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
    use super::super::testing::{convolution, program};
    use super::*;
    use crate::activation::Activation;
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

    fn names(instructions: Vec<Instruction>, read: usize) -> Vec<String> {
        let mut program = program(instructions, read);
        fold_batch_norm(&mut program);
        program.instructions.iter().map(|instruction| instruction.op.name()).collect()
    }

    #[test]
    fn it_goes_where_the_batch_norm_was() {
        let list = vec![convolution(1, 2), convolution(1, 3), norm(2, Some(3), 4)];
        assert_eq!(names(list, 4), ["convolution", "convolution_batch_norm_add_relu"]);
    }

    #[test]
    fn what_others_read_stays() {
        let list = vec![convolution(1, 2), norm(2, None, 4)];
        assert_eq!(names(list.clone(), 4), ["convolution_batch_norm_relu"]);
        assert_eq!(names(list, 2), ["convolution", "batch_norm_apply_relu"]);
        let twice = vec![convolution(1, 2), norm(2, None, 4), norm(4, None, 5)];
        assert_eq!(names(twice, 5), ["convolution_batch_norm_relu", "batch_norm_apply_relu"]);
    }

    #[test]
    fn depthwise_kernels_add_nothing() {
        let named = |residual| {
            let mut program = program(vec![convolution(1, 2), norm(2, residual, 4)], 4);
            program.values[0].shape = vec![3, 1, 3, 3];
            fold_batch_norm(&mut program);
            program.instructions.iter().map(|i| i.op.name()).collect::<Vec<_>>()
        };
        assert_eq!(named(Some(1)), ["convolution", "batch_norm_apply_add_relu"]);
        assert_eq!(named(None), ["convolution_batch_norm_relu"]);
    }
}
