//! A convolution takes the moments of its result while it stores it, for the batch norm behind it.

use super::find_makers;
use crate::program::{Algorithm, Dtype, Op, Program, ValueId, ValueInfo};

/// Reads the algorithms of the convolutions: torch's gives no moments.
pub fn fuse_statistics(program: &mut Program) {
    let makers = find_makers(program);
    for index in 0..program.instructions.len() {
        let Op::BatchNorm(op) = &program.instructions[index].op else { continue };
        let Some(maker) = makers[op.x.0] else { continue };
        let moments = moments_of(program, maker, op.x);
        if let Op::BatchNorm(op) = &mut program.instructions[index].op {
            op.moments = moments;
        }
    }
}

/// The value of the moments that a convolution gives of its result `x`; two batch norms may share it.
fn moments_of(program: &mut Program, maker: usize, x: ValueId) -> Option<ValueId> {
    let Op::Convolution(op) = &program.instructions[maker].op else { return None };
    if !op.algorithm.is_some_and(Algorithm::gives_moments) {
        return None;
    }
    let there = program.instructions[maker].outputs.get(1).copied().flatten();
    Some(there.unwrap_or_else(|| {
        let shape = vec![2, program.values[x.0].shape[1]];
        let info = ValueInfo { shape, dtype: Dtype::Float64, channels_last: false };
        let moments = program.new_value(info);
        program.instructions[maker].outputs.truncate(1);
        program.instructions[maker].outputs.push(Some(moments));
        moments
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{batch_norm, convolution, program, set_algorithm};
    use super::*;

    fn moments(program: &Program) -> Vec<Option<usize>> {
        let of = |op: &Op| match op {
            Op::BatchNorm(op) => Some(op.moments.map(|value| value.0)),
            _ => None,
        };
        program.instructions.iter().filter_map(|instruction| of(&instruction.op)).collect()
    }

    #[test]
    fn two_batch_norms_share_them() {
        let list = vec![convolution(1, 2), batch_norm(2, None, 3), batch_norm(2, None, 6)];
        let mut program = program(list, 3);
        fuse_statistics(&mut program);
        assert_eq!(moments(&program), [Some(40), Some(40)]);
        assert_eq!(program.instructions[0].outputs, [Some(ValueId(2)), Some(ValueId(40))]);
        assert_eq!(program.values[40].shape, [2, 3]);
    }

    #[test]
    fn nothing_else_gives_them() {
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
