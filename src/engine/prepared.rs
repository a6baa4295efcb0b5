//! Instructions with what they keep from run to run.

use tch::{Kind, Tensor};

use super::convolution::{self, Algorithm, Ready};
use crate::error::Result;
use crate::program::{Call, Dtype, Instruction, Op, Program, ValueId};

pub enum Prepared {
    /// Nothing is kept.
    Plain,
    Convolution(Box<Ready>),
    /// A parameter in bf16, cast when it has changed and not in each step.
    Shadow(Option<Tensor>),
}

impl Prepared {
    pub fn new(program: &Program, instruction: &Instruction) -> Result<Prepared> {
        if shadowed(program, instruction).is_some() {
            return Ok(Prepared::Shadow(None));
        }
        let Some((product, geometry)) = convolution::geometry(program, instruction)? else {
            return Ok(Prepared::Plain);
        };
        let dtype = dtype(program, &instruction.op);
        let ready = Ready::new(product, geometry, dtype, Algorithm::Torch)?;
        Ok(Prepared::Convolution(Box::new(ready)))
    }

    /// Whether the results go to planned memory.
    pub fn writes_places(&self, op: &Op) -> bool {
        match self {
            Prepared::Plain => !matches!(op, Op::Call(_)),
            Prepared::Convolution(ready) => ready.writes_places(),
            Prepared::Shadow(_) => false,
        }
    }

    /// Takes over new values of the tensor that [`source`] names.
    pub fn refresh(&mut self, source: &Tensor) -> Result<()> {
        match self {
            Prepared::Plain => {}
            Prepared::Convolution(ready) => ready.pack(source)?,
            Prepared::Shadow(shadow) => *shadow = Some(source.f_to_kind(Kind::BFloat16)?),
        }
        Ok(())
    }
}

/// The fp32 tensor of which an instruction keeps a copy in its own form.
pub fn source(program: &Program, instruction: &Instruction) -> Option<ValueId> {
    convolution::master(&instruction.op).or_else(|| shadowed(program, instruction))
}

/// The input that an instruction does nothing but cast from fp32 to bf16.
fn shadowed(program: &Program, instruction: &Instruction) -> Option<ValueId> {
    let Op::Call(Call { name, args, .. }) = &instruction.op else { return None };
    let (from, to) = (args.first()?.tensor()?, instruction.outputs.first().copied().flatten()?);
    let dtype = |value: ValueId| program.values[value.0].dtype;
    let casts = name == "aten::_to_copy" && dtype(from) == Dtype::Float32;
    let is_parameter = program.is_parameter(from);
    (casts && dtype(to) == Dtype::Bfloat16 && is_parameter).then_some(from)
}

fn dtype(program: &Program, op: &Op) -> Dtype {
    let value = match op {
        Op::Convolution(op) => op.x,
        Op::ConvolutionGradInput(op) => op.grad_y,
        Op::ConvolutionGradWeight(op) => op.x,
        _ => return Dtype::Float32,
    };
    program.values[value.0].dtype
}
