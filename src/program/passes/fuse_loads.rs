//! Where convolutions alone read the result of a batch norm, it is not stored: they read the batch
//! norm's input, and do its second half as they do.

use super::{find_readers, is_read_by_caller};
use crate::program::{Algorithm, Dtype, Load, Op, Program, ValueId, ValueInfo};

/// Reads the algorithms of the convolutions: not all of them can apply a load.
pub fn fuse_loads(program: &mut Program) {
    let readers = find_readers(program);
    for index in 0..program.instructions.len() {
        let Some(y) = program.instructions[index].outputs.first().copied().flatten() else {
            continue;
        };
        let Op::BatchNorm(op) = &program.instructions[index].op else { continue };
        let (x, activation) = (op.x, op.activation);
        let readers = &readers[y.0];
        let all = readers.iter().all(|&reader| takes_load(program, reader, y));
        if op.residual.is_some() || readers.is_empty() || !all || is_read_by_caller(program, y) {
            continue;
        }
        let channels = program.values[x.0].shape[1];
        let info = ValueInfo { shape: vec![channels], dtype: Dtype::Float32, channels_last: false };
        let (scale, shift) = (program.new_value(info.clone()), program.new_value(info));
        let outputs = &mut program.instructions[index].outputs;
        outputs.resize(5, None);
        outputs[0] = None;
        outputs.extend([Some(scale), Some(shift)]);
        for &reader in readers {
            let load = Some(Load { scale, shift, activation });
            match &mut program.instructions[reader].op {
                Op::Convolution(op) => (op.x, op.load) = (x, load),
                Op::ConvolutionGradWeight(op) => (op.x, op.load) = (x, load),
                _ => {}
            }
        }
    }
}

/// Whether the instruction convolves `y`, reads it as nothing else, and can apply a load to it.
fn takes_load(program: &Program, reader: usize, y: ValueId) -> bool {
    let mut uses = 0;
    let op = &program.instructions[reader].op;
    op.for_each_value(|value| uses += usize::from(value == y));
    let (x, load, algorithm) = match op {
        Op::Convolution(op) => (op.x, &op.load, op.algorithm),
        Op::ConvolutionGradWeight(op) => (op.x, &op.load, op.algorithm),
        _ => return false,
    };
    x == y && uses == 1 && load.is_none() && algorithm.is_some_and(Algorithm::takes_load)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{batch_norm, convolution, grad_weight, program, set_algorithm};
    use super::*;
    use crate::program::Instruction;

    /// What each convolution reads, and whether through a load.
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
    fn what_others_read_is_stored() {
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
    fn all_kernels_have_to_do_it() {
        let mut list = list();
        list.push(convolution(3, 20));
        set_algorithm(&mut list[3], Algorithm::Depthwise);
        assert!(reads(program(list, 6)).iter().all(|(_, load)| !load));
    }
}
