//! The kernel of a convolution's instruction with the packed weight that it keeps from run to run.

use half::bf16;
use tch::{Kind, Tensor};

use super::folded::Folded;
use super::torch;
use super::typed::Typed;
use crate::engine::memory::{cast_rows, slice, to_channels_last};
use crate::engine::values::{Lookup, Outputs, Places};
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::Geometry;
use crate::program::{
    Algorithm, Convolution, ConvolutionGradInput, ConvolutionGradWeight, Dtype, Instruction, Op,
    Program,
};
use crate::tuning::{dtype, geometry, Product};

pub struct Kernel {
    pub geometry: Geometry,
    pub algorithm: Algorithm,
    backend: Backend,
    /// The batch norm that is folded into the packed weight.
    folded: Option<Folded>,
}

enum Backend {
    /// torch's kernel and the weight in the type of the activations.
    Torch(Kind, Option<Tensor>),
    F32(Typed<f32>),
    Bf16(Typed<bf16>),
}

impl Kernel {
    /// The convolution of an instruction by the algorithm that is recorded on it; `None` for other
    /// operations.
    pub fn of(program: &Program, instruction: &Instruction) -> Result<Option<Kernel>> {
        let Some((product, geometry)) = geometry(program, instruction)? else { return Ok(None) };
        let algorithm = match &instruction.op {
            Op::Convolution(op) => op.algorithm,
            Op::ConvolutionGradInput(op) => op.algorithm,
            Op::ConvolutionGradWeight(op) => op.algorithm,
            _ => None,
        };
        let missing = || Error::Capture("no algorithm was chosen for a convolution".into());
        let algorithm = algorithm.ok_or_else(missing)?;
        Kernel::new(product, geometry, dtype(program, &instruction.op), algorithm).map(Some)
    }

    pub fn new(
        product: Product,
        geometry: Geometry,
        dtype: Dtype,
        algorithm: Algorithm,
    ) -> Result<Kernel> {
        let backend = match (algorithm, dtype) {
            (Algorithm::Torch, Dtype::Bfloat16) => Backend::Torch(Kind::BFloat16, None),
            (Algorithm::Torch, _) => Backend::Torch(Kind::Float, None),
            (_, Dtype::Bfloat16) => Backend::Bf16(Typed::new(product, geometry, algorithm)?),
            _ => Backend::F32(Typed::new(product, geometry, algorithm)?),
        };
        Ok(Kernel { geometry, algorithm, backend, folded: None })
    }

    /// Whether the results are written to planned memory.
    pub fn writes_places(&self) -> bool {
        self.algorithm != Algorithm::Torch
    }

    /// Packs the master, fp32 of shape OIHW, and the batch norm that is folded into it.
    pub fn pack(&mut self, op: &Op, lookup: &Lookup<'_>) -> Result<()> {
        let value = match op {
            Op::Convolution(op) => op.weight,
            Op::ConvolutionGradInput(op) => op.weight,
            _ => return Ok(()),
        };
        let master = to_channels_last(&lookup(value)?.f_to_kind(Kind::Float)?)?;
        if let Op::Convolution(op) = op {
            self.folded = Folded::new(op, lookup)?;
        }
        let scale = self.folded.as_ref().map(|folded| &folded.scale[..]);
        match &mut self.backend {
            Backend::Torch(kind, weight) => {
                let packed = torch::scaled(&master, scale)?.f_to_kind(*kind)?;
                let packed = torch::repeated(&packed, self.geometry.num_blocks)?;
                *weight = Some(to_channels_last(&packed)?);
            }
            Backend::F32(typed) => typed.pack(slice(&master)?, scale)?,
            Backend::Bf16(typed) => typed.pack(slice(&master)?, scale)?,
        }
        Ok(())
    }

    /// Whether the packed weight can be updated by rows of the master.
    pub fn updates_by_rows(&self, op: &Op) -> bool {
        let folded = matches!(op, Op::Convolution(Convolution { fold: Some(_), .. }));
        // torch's weight repeats each row for every block.
        let repeated = self.algorithm == Algorithm::Torch && self.geometry.num_blocks > 1;
        !folded && !repeated
    }

    /// Packs rows of the master, starting with the row `first`.
    ///
    /// # Safety
    /// `first` is a multiple of 16; concurrent calls have different rows, and nothing else uses
    /// `self` meanwhile.
    pub unsafe fn pack_rows(&self, first: usize, rows: &[f32]) {
        match &self.backend {
            Backend::Torch(Kind::BFloat16, Some(weight)) => unsafe {
                cast_rows(weight, first, rows)
            },
            // In fp32 the weight shares the memory of the master.
            Backend::Torch(..) => {}
            Backend::F32(typed) => unsafe { typed.pack_rows(first, rows) },
            Backend::Bf16(typed) => unsafe { typed.pack_rows(first, rows) },
        }
    }

    /// Runs the instruction that the kernel was made for.
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
        match &self.backend {
            Backend::Torch(_, weight) => {
                let bias = match folded {
                    Some(folded) => Some(Tensor::from_slice(&folded.bias)),
                    None => op.bias.map(lookup).transpose()?,
                };
                let y = torch::forward(&lookup(op.x)?, packed(weight)?, bias, &op.window)?;
                let residual = op.residual.map(lookup).transpose()?;
                Ok(vec![Some(torch::finished(y, residual, op.activation)?)])
            }
            Backend::F32(typed) => typed.forward(op, folded, lookup, places),
            Backend::Bf16(typed) => typed.forward(op, folded, lookup, places),
        }
    }

    fn grad_input(
        &self,
        op: &ConvolutionGradInput,
        lookup: &Lookup<'_>,
        places: &Places<'_>,
    ) -> Result<Outputs> {
        match &self.backend {
            Backend::Torch(_, weight) => {
                let (grad_y, weight) = (lookup(op.grad_y)?, packed(weight)?);
                let mut grad_x = torch::grad_input(&self.geometry, &grad_y, weight, &op.window)?;
                if let Some(other) = op.add {
                    grad_x = grad_x.f_add_(&lookup(other)?)?;
                }
                Ok(vec![Some(grad_x)])
            }
            Backend::F32(typed) => typed.grad_input(op, lookup, places),
            Backend::Bf16(typed) => typed.grad_input(op, lookup, places),
        }
    }

    fn grad_weight(
        &self,
        op: &ConvolutionGradWeight,
        lookup: &Lookup<'_>,
        places: &Places<'_>,
    ) -> Result<Outputs> {
        match &self.backend {
            Backend::Torch(..) => {
                let (grad_y, x) = (lookup(op.grad_y)?, lookup(op.x)?);
                let bias = places.wanted(1);
                Ok(torch::grad_weight(&self.geometry, &grad_y, &x, &op.window, bias)?.into())
            }
            Backend::F32(typed) => typed.grad_weight(op, lookup, places),
            Backend::Bf16(typed) => typed.grad_weight(op, lookup, places),
        }
    }
}

fn packed(weight: &Option<Tensor>) -> Result<&Tensor> {
    weight.as_ref().ok_or_else(|| Error::Capture("a convolution without its weight".into()))
}
