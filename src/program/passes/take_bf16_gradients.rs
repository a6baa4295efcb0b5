//! An optimizer that reads gradients in bf16 needs no casts of them.

use super::find_makers;
use crate::program::{Dtype, Op, Program};

pub fn take_bf16_gradients(program: &mut Program) {
    let makers = find_makers(program);
    for (_, gradient) in &mut program.outputs.gradients {
        let Some(maker) = makers[gradient.0] else { continue };
        let Op::Call(call) = &program.instructions[maker].op else { continue };
        let Some(source) = call.tensor(0).filter(|_| call.is("aten::_to_copy")) else { continue };
        if program.values[source.0].dtype == Dtype::Bfloat16 {
            *gradient = source;
        }
    }
}
