//! Chooses the algorithm of each convolution, once, and records it on the instruction.

use super::contest::Kernels;
use crate::cpu::processor;
use crate::error::Result;
use crate::kernels::cpu::convolution::Geometry;
use crate::program::{Algorithm, Dtype, Instruction, Op, Program};
use crate::tuning::{candidates, dtype, geometry, Key, Preference, Product, Tuner};

/// How algorithms are chosen.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub preference: Preference,
    /// Times the candidates where there are several; without one the most promising is taken.
    pub tuner: Option<Tuner>,
}

impl Choice {
    /// Sets the algorithm of every convolution of the program.
    pub fn apply(&self, program: &mut Program) -> Result<()> {
        for index in 0..program.instructions.len() {
            let chosen = self.algorithm(program, &program.instructions[index])?;
            match &mut program.instructions[index].op {
                Op::Convolution(op) => op.algorithm = chosen,
                Op::ConvolutionGradInput(op) => op.algorithm = chosen,
                Op::ConvolutionGradWeight(op) => op.algorithm = chosen,
                _ => {}
            }
        }
        Ok(())
    }

    fn algorithm(&self, program: &Program, instruction: &Instruction) -> Result<Option<Algorithm>> {
        let Some((product, geometry)) = geometry(program, instruction)? else { return Ok(None) };
        let dtype = dtype(program, &instruction.op);
        self.fastest(product, &geometry, dtype).map(Some)
    }

    fn fastest(&self, product: Product, geometry: &Geometry, dtype: Dtype) -> Result<Algorithm> {
        let tiles = dtype == Dtype::Bfloat16 && processor::has_tiles();
        let candidates = candidates(self.preference, geometry, tiles);
        match (&self.tuner, candidates.as_slice()) {
            (_, []) => Ok(Algorithm::Torch),
            (_, [only]) => Ok(*only),
            (None, [first, ..]) => Ok(*first),
            (Some(tuner), _) => {
                let (machine, geometry) = (tuner.machine.clone(), *geometry);
                tuner.fastest(Key { machine, product, dtype, geometry, candidates }, Kernels::new)
            }
        }
    }
}
