//! A convolution computes the moments of its result while it stores it, for the batch norm after
//! it.

use super::graph::Graph;
use crate::program::{Algorithm, Dtype, Op, Program, ValueId, ValueInfo};

/// Reads the algorithms of the convolutions: torch's gives no moments.
pub fn fuse_statistics(program: &mut Program) {
    let graph = Graph::new(program);
    let fused: Vec<(usize, usize)> = (0..program.instructions.len())
        .filter_map(|index| Some((index, convolution_before(&graph, index)?)))
        .collect();
    for (index, convolution) in fused {
        let moments = moments_of(program, convolution);
        if let Op::BatchNorm(op) = &mut program.instructions[index].op {
            op.moments = Some(moments);
        }
    }
}

/// The convolution before a batch norm, if it can compute moments.
fn convolution_before(graph: &Graph, index: usize) -> Option<usize> {
    let Op::BatchNorm(norm) = graph.op(index) else { return None };
    let before = graph.definition(norm.x)?;
    let Op::Convolution(op) = graph.op(before) else { return None };
    op.algorithm.is_some_and(Algorithm::gives_moments).then_some(before)
}

/// The value of the moments of a convolution's result, which several batch norms may share.
fn moments_of(program: &mut Program, convolution: usize) -> ValueId {
    let outputs = &program.instructions[convolution].outputs;
    if let [_, Some(moments), ..] = outputs[..] {
        return moments;
    }
    let channels = outputs[0].map_or(0, |y| program.values[y.0].shape[1]);
    let info = ValueInfo { shape: vec![2, channels], dtype: Dtype::Float64, channels_last: false };
    let moments = program.new_value(info);
    program.instructions[convolution].outputs.truncate(1);
    program.instructions[convolution].outputs.push(Some(moments));
    moments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::testing::{batch_norm, convolution, program, set_algorithm};

    fn moments(program: &Program) -> Vec<Option<usize>> {
        let of = |op: &Op| match op {
            Op::BatchNorm(op) => Some(op.moments.map(|value| value.0)),
            _ => None,
        };
        program.instructions.iter().filter_map(|instruction| of(&instruction.op)).collect()
    }

    #[test]
    fn two_batch_norms_share_the_moments() {
        let list = vec![convolution(1, 2), batch_norm(2, None, 3), batch_norm(2, None, 6)];
        let mut program = program(list, 3);
        fuse_statistics(&mut program);
        assert_eq!(moments(&program), [Some(40), Some(40)]);
        assert_eq!(program.instructions[0].outputs, [Some(ValueId(2)), Some(ValueId(40))]);
        assert_eq!(program.values[40].shape, [2, 3]);
    }

    #[test]
    fn only_our_convolutions_give_moments() {
        let list = vec![convolution(1, 2), batch_norm(2, None, 3), batch_norm(3, None, 6)];
        let mut program = program(list, 6);
        set_algorithm(&mut program.instructions[0], Algorithm::Torch);
        fuse_statistics(&mut program);
        assert_eq!(moments(&program), [None, None]);
        set_algorithm(&mut program.instructions[0], Algorithm::Depthwise);
        fuse_statistics(&mut program);
        assert_eq!(moments(&program), [Some(40), None]);
    }
}
