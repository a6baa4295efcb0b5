//! Instructions with what they keep from run to run.

use tch::{Kind, Tensor};

use super::convolution::{self, Ready};
use super::memory::{cast_rows, is_channels_last};
use super::values::Lookup;
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
        match Ready::of(program, instruction)? {
            Some(ready) => Ok(Prepared::Convolution(Box::new(ready))),
            None => Ok(Prepared::Plain),
        }
    }

    /// Whether the results go to planned memory.
    pub fn writes_places(&self, op: &Op) -> bool {
        match self {
            Prepared::Plain => !matches!(op, Op::Call(_)),
            Prepared::Convolution(ready) => ready.writes_places(),
            Prepared::Shadow(_) => false,
        }
    }

    /// Who computes the operation.
    pub fn kernel(&self, op: &Op) -> &'static str {
        match (self, op) {
            (Prepared::Convolution(ready), _) => ready.algorithm.name(),
            (Prepared::Shadow(_), _) => "kept",
            (Prepared::Plain, Op::Call(_)) => "torch",
            (Prepared::Plain, _) => "fused",
        }
    }

    /// Makes the copy of the tensor that [`source`] names anew.
    pub fn refresh(&mut self, op: &Op, source: ValueId, lookup: &Lookup<'_>) -> Result<()> {
        match self {
            Prepared::Plain => {}
            Prepared::Convolution(ready) => ready.pack(op, lookup)?,
            Prepared::Shadow(shadow) => {
                let source = lookup(source)?;
                // In its place, where a captured graph may read it.
                match shadow {
                    Some(shadow) => shadow.f_copy_(&source)?,
                    None => *shadow = Some(source.f_to_kind(Kind::BFloat16)?),
                }
            }
        }
        Ok(())
    }

    /// The copy of a parameter in bf16.
    pub fn shadow(&self) -> Option<Tensor> {
        match self {
            Prepared::Shadow(shadow) => shadow.as_ref().map(Tensor::shallow_clone),
            _ => None,
        }
    }

    /// Whether the copy of a source laid out like this can be brought up to date by rows.
    pub fn takes_rows(&self, op: &Op, source: &Tensor) -> bool {
        match self {
            Prepared::Plain => false,
            Prepared::Convolution(ready) => ready.takes_rows(op) && is_channels_last(source),
            Prepared::Shadow(_) => true,
        }
    }

    /// # Safety
    /// The copy takes rows. `first` is a multiple of 16; calls that run at once have rows of their
    /// own, and nothing else uses `self` meanwhile.
    pub unsafe fn take_rows(&self, first: usize, rows: &[f32]) {
        match self {
            // SAFETY: the caller's.
            Prepared::Convolution(ready) => unsafe { ready.pack_rows(first, rows) },
            // SAFETY: the caller's.
            Prepared::Shadow(Some(shadow)) => unsafe { cast_rows(shadow, first, rows) },
            Prepared::Plain | Prepared::Shadow(None) => {}
        }
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
