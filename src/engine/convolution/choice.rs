//! Chooses the algorithm of each convolution, once, and records it on the instruction.

use super::contest::Kernels;
use crate::error::Result;
use crate::program::passes::{self, Fusible};
use crate::program::{Algorithm, Instruction, Op, Program};
use crate::tuning::{candidates, dtype, geometry, Key, Multipliers, Preference, Tuner};

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
        let fusible = passes::fusible(program);
        for (index, fusible) in fusible.into_iter().enumerate() {
            let chosen = self.algorithm(program, &program.instructions[index], fusible)?;
            match &mut program.instructions[index].op {
                Op::Convolution(op) => op.algorithm = chosen,
                Op::ConvolutionGradInput(op) => op.algorithm = chosen,
                Op::ConvolutionGradWeight(op) => op.algorithm = chosen,
                _ => {}
            }
        }
        Ok(())
    }

    fn algorithm(
        &self,
        program: &Program,
        instruction: &Instruction,
        fusible: Fusible,
    ) -> Result<Option<Algorithm>> {
        let Some((product, geometry)) = geometry(program, instruction)? else { return Ok(None) };
        let dtype = dtype(program, &instruction.op);
        let candidates = candidates(self.preference, &geometry, Multipliers::of(dtype));
        let fastest = match (&self.tuner, candidates.as_slice()) {
            (_, []) => Algorithm::Torch,
            (_, [only]) => *only,
            (None, [first, ..]) => *first,
            (Some(tuner), _) => {
                let machine = tuner.machine.clone();
                let key = Key { machine, product, dtype, geometry, fusible, candidates };
                tuner.fastest(key, Kernels::new)?
            }
        };
        Ok(Some(fastest))
    }
}
