//! One instruction with its kernel and its weight.

use half::bf16;
use tch::{Kind, Tensor};

use super::folded::Folded;
use super::geometry::{dtype, geometry};
use super::typed::Typed;
use super::{torch, Product};
use crate::engine::memory::{cast_rows, slice, to_channels_last};
use crate::engine::values::{Lookup, Outputs, Places};
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::Geometry;
use crate::program::{
    Algorithm, Convolution, ConvolutionGradInput, ConvolutionGradWeight, Dtype, Instruction, Op,
    Program, ValueId,
};

pub struct Ready {
    pub product: Product,
    pub geometry: Geometry,
    pub algorithm: Algorithm,
    kernel: Kernel,
    /// The batch norm that the weight was packed with.
    folded: Option<Folded>,
}

enum Kernel {
    /// The weight in the type of the activations.
    Torch(Kind, Option<Tensor>),
    F32(Typed<f32>),
    Bf16(Typed<bf16>),
}

impl Ready {
    /// The convolution of an instruction by the algorithm that is recorded on it; `None` for other
    /// operations.
    pub fn of(program: &Program, instruction: &Instruction) -> Result<Option<Ready>> {
        let Some((product, geometry)) = geometry(program, instruction)? else { return Ok(None) };
        let algorithm = match &instruction.op {
            Op::Convolution(op) => op.algorithm,
            Op::ConvolutionGradInput(op) => op.algorithm,
            Op::ConvolutionGradWeight(op) => op.algorithm,
            _ => None,
        };
        let missing = || Error::Capture("no algorithm was chosen for a convolution".into());
        let algorithm = algorithm.ok_or_else(missing)?;
        Ready::new(product, geometry, dtype(program, &instruction.op), algorithm).map(Some)
    }

    pub fn new(
        product: Product,
        geometry: Geometry,
        dtype: Dtype,
        algorithm: Algorithm,
    ) -> Result<Ready> {
        let kernel = match (algorithm, dtype) {
            (Algorithm::Torch, Dtype::Bfloat16) => Kernel::Torch(Kind::BFloat16, None),
            (Algorithm::Torch, _) => Kernel::Torch(Kind::Float, None),
            (_, Dtype::Bfloat16) => Kernel::Bf16(Typed::new(product, geometry, algorithm)?),
            _ => Kernel::F32(Typed::new(product, geometry, algorithm)?),
        };
        Ok(Ready { product, geometry, algorithm, kernel, folded: None })
    }

    /// Whether the results go to the places they are given.
    pub fn writes_places(&self) -> bool {
        self.algorithm != Algorithm::Torch
    }

    /// Takes over new values of the master, fp32 of shape OIHW, and of what is folded into it.
    pub fn pack(&mut self, op: &Op, lookup: &Lookup<'_>) -> Result<()> {
        let Some(value) = master(op) else { return Ok(()) };
        let master = to_channels_last(&lookup(value)?.f_to_kind(Kind::Float)?)?;
        if let Op::Convolution(op) = op {
            self.folded = Folded::new(op, lookup)?;
        }
        let scale = self.folded.as_ref().map(|folded| &folded.scale[..]);
        match &mut self.kernel {
            Kernel::Torch(kind, weight) => {
                let master = torch::scaled(&master, scale)?.f_to_kind(*kind)?;
                let master = torch::repeated(&master, self.geometry.num_blocks)?;
                *weight = Some(to_channels_last(&master)?);
            }
            Kernel::F32(typed) => typed.pack(slice(&master)?, scale)?,
            Kernel::Bf16(typed) => typed.pack(slice(&master)?, scale)?,
        }
        Ok(())
    }

    /// Whether new values of the master can be taken over by rows.
    pub fn takes_rows(&self, op: &Op) -> bool {
        let folded = matches!(op, Op::Convolution(Convolution { fold: Some(_), .. }));
        // torch's weight has them once for each block.
        let repeated = self.algorithm == Algorithm::Torch && self.geometry.num_blocks > 1;
        !folded && !repeated
    }

    /// Takes over rows of the master from `first`, a multiple of 16, on.
    ///
    /// # Safety
    /// Calls may run at once if their rows differ, but nothing else uses `self` meanwhile.
    pub unsafe fn pack_rows(&self, first: usize, rows: &[f32]) {
        match &self.kernel {
            Kernel::Torch(Kind::BFloat16, Some(weight)) => unsafe {
                cast_rows(weight, first, rows)
            },
            // In fp32 it is the master itself.
            Kernel::Torch(..) => {}
            Kernel::F32(typed) => unsafe { typed.pack_rows(first, rows) },
            Kernel::Bf16(typed) => unsafe { typed.pack_rows(first, rows) },
        }
    }

    /// Runs the instruction that this was made of.
    pub fn run(&self, op: &Op, lookup: &Lookup<'_>, places: &Places<'_>) -> Result<Outputs> {
        match op {
            Op::Convolution(op) => self.forward(op, lookup, places),
            Op::ConvolutionGradInput(op) => self.grad_input(op, lookup, places),
            Op::ConvolutionGradWeight(op) => self.grad_weight(op, lookup, places),
            _ => Err(Error::Capture(format!("{} is no convolution", op.name()))),
        }
    }

    fn forward(
        &self,
        op: &Convolution,
        lookup: &Lookup<'_>,
        places: &Places<'_>,
    ) -> Result<Outputs> {
        let folded = self.folded.as_ref();
        match &self.kernel {
            Kernel::Torch(_, weight) => {
                let bias = match folded {
                    Some(folded) => Some(Tensor::from_slice(&folded.bias)),
                    None => op.bias.map(lookup).transpose()?,
                };
                let y = torch::forward(&lookup(op.x)?, there(weight)?, bias, &op.window)?;
                let residual = op.residual.map(lookup).transpose()?;
                Ok(vec![Some(torch::finished(y, residual, op.activation)?)])
            }
            Kernel::F32(typed) => typed.forward(op, folded, lookup, places),
            Kernel::Bf16(typed) => typed.forward(op, folded, lookup, places),
        }
    }

    fn grad_input(
        &self,
        op: &ConvolutionGradInput,
        lookup: &Lookup<'_>,
        places: &Places<'_>,
    ) -> Result<Outputs> {
        match &self.kernel {
            Kernel::Torch(_, weight) => {
                let (grad_y, weight) = (lookup(op.grad_y)?, there(weight)?);
                let mut grad_x = torch::grad_input(&self.geometry, &grad_y, weight, &op.window)?;
                if let Some(other) = op.add {
                    grad_x = grad_x.f_add_(&lookup(other)?)?;
                }
                Ok(vec![Some(grad_x)])
            }
            Kernel::F32(typed) => typed.grad_input(op, lookup, places),
            Kernel::Bf16(typed) => typed.grad_input(op, lookup, places),
        }
    }

    fn grad_weight(
        &self,
        op: &ConvolutionGradWeight,
        lookup: &Lookup<'_>,
        places: &Places<'_>,
    ) -> Result<Outputs> {
        match &self.kernel {
            Kernel::Torch(..) => {
                let (grad_y, x) = (lookup(op.grad_y)?, lookup(op.x)?);
                let bias = places.wanted(1);
                Ok(torch::grad_weight(&self.geometry, &grad_y, &x, &op.window, bias)?.into())
            }
            Kernel::F32(typed) => typed.grad_weight(op, lookup, places),
            Kernel::Bf16(typed) => typed.grad_weight(op, lookup, places),
        }
    }
}

fn there(weight: &Option<Tensor>) -> Result<&Tensor> {
    weight.as_ref().ok_or_else(|| Error::Capture("a convolution without its weight".into()))
}

/// The master of a convolution's weight, where its value is read.
pub fn master(op: &Op) -> Option<ValueId> {
    match op {
        Op::Convolution(op) => Some(op.weight),
        Op::ConvolutionGradInput(op) => Some(op.weight),
        _ => None,
    }
}
