//! Where only convolutions read the result of a batch norm, the result is not stored: they read the
//! batch norm's input and apply its scale, shift and activation as they load it.

use super::graph::Graph;
use crate::program::{Algorithm, Dtype, Load, Op, Program, ValueId, ValueInfo};

/// Reads the algorithms of the convolutions: not all of them can apply a load.
pub fn fuse_loads(program: &mut Program) {
    let graph = Graph::new(program);
    let fused: Vec<(usize, Vec<usize>)> = (0..program.instructions.len())
        .filter_map(|index| {
            let takes_load =
                |algorithm: Option<Algorithm>| algorithm.is_some_and(Algorithm::takes_load);
            Some((index, convolutions_after(&graph, index, takes_load)?))
        })
        .collect();
    for (index, convolutions) in fused {
        fuse(program, index, &convolutions);
    }
}

/// Whether an instruction is a batch norm whose result need not be stored, if the algorithms of the
/// convolutions after it can apply a load.
pub(super) fn could_load(graph: &Graph, index: usize) -> bool {
    convolutions_after(graph, index, |_| true).is_some()
}

/// The convolutions that read the result of a batch norm, if nothing else does and all of their
/// algorithms are suitable.
fn convolutions_after(
    graph: &Graph,
    index: usize,
    suits: impl Fn(Option<Algorithm>) -> bool,
) -> Option<Vec<usize>> {
    let Op::BatchNorm(norm) = graph.op(index) else { return None };
    let y = graph.output(index, 0)?;
    let users = graph.users(y);
    let reads = |user: &usize| only_convolves(graph.op(*user), y).is_some_and(&suits);
    let fits = norm.residual.is_none()
        && !users.is_empty()
        && !graph.is_output(y)
        && users.iter().all(reads);
    fits.then(|| users.to_vec())
}

/// The algorithm of an operation that convolves `y`, reads it as nothing else, and applies no load
/// yet.
fn only_convolves(op: &Op, y: ValueId) -> Option<Option<Algorithm>> {
    let mut uses = 0;
    op.for_each_value(|value| uses += usize::from(value == y));
    let (x, load, algorithm) = match op {
        Op::Convolution(op) => (op.x, &op.load, op.algorithm),
        Op::ConvolutionGradWeight(op) => (op.x, &op.load, op.algorithm),
        _ => return None,
    };
    (x == y && uses == 1 && load.is_none()).then_some(algorithm)
}

fn fuse(program: &mut Program, index: usize, convolutions: &[usize]) {
    let Op::BatchNorm(norm) = &program.instructions[index].op else { return };
    let (x, activation) = (norm.x, norm.activation);
    let channels = program.values[x.0].shape[1];
    let info = ValueInfo { shape: vec![channels], dtype: Dtype::Float32, channels_last: false };
    let (scale, shift) = (program.new_value(info.clone()), program.new_value(info));
    let outputs = &mut program.instructions[index].outputs;
    outputs.resize(5, None);
    outputs[0] = None;
    outputs.extend([Some(scale), Some(shift)]);
    for &convolution in convolutions {
        let load = Some(Load { scale, shift, activation });
        match &mut program.instructions[convolution].op {
            Op::Convolution(op) => (op.x, op.load) = (x, load),
            Op::ConvolutionGradWeight(op) => (op.x, op.load) = (x, load),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::testing::{batch_norm, convolution, grad_weight, program, set_algorithm};
    use crate::program::Instruction;

    /// What each convolution reads, and whether it applies a load.
    fn reads(mut program: Program) -> Vec<(usize, bool)> {
        fuse_loads(&mut program);
        let read = |instruction: &Instruction| match &instruction.op {
            Op::Convolution(op) => Some((op.x.0, op.load.is_some())),
            Op::ConvolutionGradWeight(op) => Some((op.x.0, op.load.is_some())),
            _ => None,
        };
        program.instructions.iter().filter_map(read).collect()
    }

    fn list() -> Vec<Instruction> {
        vec![batch_norm(2, None, 3), convolution(3, 6), grad_weight(7, 3, 8)]
    }

    #[test]
    fn convolutions_read_the_input() {
        assert_eq!(reads(program(list(), 6)), [(2, true), (2, true)]);
    }

    #[test]
    fn results_with_other_users_are_stored() {
        assert_eq!(reads(program(list(), 3)), [(3, false), (3, false)], "the caller");
        let residual = [list(), vec![batch_norm(6, Some(3), 10)]].concat();
        assert_eq!(reads(program(residual, 6)), [(3, false), (3, false)]);
        let gradient = [list(), vec![grad_weight(3, 3, 10)]].concat();
        assert_eq!(reads(program(gradient, 6)).iter().filter(|(_, load)| *load).count(), 0);
    }

    #[test]
    fn the_residual_is_not_part_of_a_load() {
        let mut list = list();
        list[0] = batch_norm(2, Some(1), 3);
        assert_eq!(reads(program(list, 6)), [(3, false), (3, false)]);
    }

    #[test]
    fn all_algorithms_have_to_support_it() {
        let mut list = list();
        list.push(convolution(3, 20));
        set_algorithm(&mut list[3], Algorithm::Depthwise);
        assert!(reads(program(list, 6)).iter().all(|(_, load)| !load));
    }
}
