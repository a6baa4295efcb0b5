//! How an instruction is executed, and the shadow of its master that it keeps from run to run.

use tch::{Kind, Tensor};

use super::convolution::Kernel;
use super::memory::{cast_rows, is_channels_last};
use super::values::Lookup;
use crate::error::Result;
use crate::program::{Call, Dtype, Instruction, Op, Program, ValueId};

pub enum Executor {
    /// Keeps nothing.
    Stateless,
    /// Keeps the weight in the layout of its kernel.
    Convolution(Box<Kernel>),
    /// Keeps a parameter in bf16: it is cast when it has changed, not in each step.
    Cast(Option<Tensor>),
}

impl Executor {
    pub fn new(program: &Program, instruction: &Instruction) -> Result<Executor> {
        if cast_parameter(program, instruction).is_some() {
            return Ok(Executor::Cast(None));
        }
        match Kernel::of(program, instruction)? {
            Some(kernel) => Ok(Executor::Convolution(Box::new(kernel))),
            None => Ok(Executor::Stateless),
        }
    }

    /// Whether the results are written to planned memory.
    pub fn writes_places(&self, op: &Op) -> bool {
        match self {
            Executor::Stateless => !matches!(op, Op::Call(_)),
            Executor::Convolution(kernel) => kernel.writes_places(),
            Executor::Cast(_) => false,
        }
    }

    /// The name of the kernel in a report.
    pub fn kernel(&self, op: &Op) -> &'static str {
        match (self, op) {
            (Executor::Convolution(kernel), _) => kernel.algorithm.name(),
            (Executor::Cast(_), _) => "kept",
            (Executor::Stateless, Op::Call(_)) => "torch",
            (Executor::Stateless, _) => "fused",
        }
    }

    /// Makes the shadow of the master anew.
    pub fn refresh(&mut self, op: &Op, master: ValueId, lookup: &Lookup<'_>) -> Result<()> {
        match self {
            Executor::Stateless => {}
            Executor::Convolution(kernel) => kernel.pack(op, lookup)?,
            Executor::Cast(shadow) => {
                let master = lookup(master)?;
                // In place, since a captured CUDA graph may read it.
                match shadow {
                    Some(shadow) => shadow.f_copy_(&master)?,
                    None => *shadow = Some(master.f_to_kind(Kind::BFloat16)?),
                }
            }
        }
        Ok(())
    }

    /// The shadow of a parameter that is cast to bf16.
    pub fn bf16_shadow(&self) -> Option<Tensor> {
        match self {
            Executor::Cast(shadow) => shadow.as_ref().map(Tensor::shallow_clone),
            _ => None,
        }
    }

    /// Whether the shadow can be updated by rows of the master.
    pub fn updates_by_rows(&self, op: &Op, master: &Tensor) -> bool {
        match self {
            Executor::Stateless => false,
            Executor::Convolution(kernel) => kernel.updates_by_rows(op) && is_channels_last(master),
            Executor::Cast(_) => true,
        }
    }

    /// Updates rows of the shadow; does nothing before the shadow is first made.
    ///
    /// # Safety
    /// The shadow can be updated by rows. `first` is a multiple of 16; concurrent calls have
    /// different rows, and nothing else uses `self` meanwhile.
    pub unsafe fn update_rows(&self, first: usize, rows: &[f32]) {
        match self {
            // SAFETY: guaranteed by the caller.
            Executor::Convolution(kernel) => unsafe { kernel.pack_rows(first, rows) },
            // SAFETY: guaranteed by the caller.
            Executor::Cast(Some(shadow)) => unsafe { cast_rows(shadow, first, rows) },
            Executor::Stateless | Executor::Cast(None) => {}
        }
    }
}

/// The fp32 master of which an instruction keeps a shadow.
pub fn master(program: &Program, instruction: &Instruction) -> Option<ValueId> {
    match &instruction.op {
        Op::Convolution(op) => Some(op.weight),
        Op::ConvolutionGradInput(op) => Some(op.weight),
        _ => cast_parameter(program, instruction),
    }
}

/// The parameter of an instruction that is a cast of it from fp32 to bf16.
fn cast_parameter(program: &Program, instruction: &Instruction) -> Option<ValueId> {
    let Op::Call(Call { name, args, .. }) = &instruction.op else { return None };
    let (from, to) = (args.first()?.tensor()?, instruction.outputs.first().copied().flatten()?);
    let dtype = |value: ValueId| program.values[value.0].dtype;
    let is_cast =
        name == "aten::_to_copy" && dtype(from) == Dtype::Float32 && dtype(to) == Dtype::Bfloat16;
    (is_cast && program.is_parameter(from)).then_some(from)
}
