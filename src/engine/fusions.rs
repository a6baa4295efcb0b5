//! The rewrites of a program that depend on who computes its convolutions.

use super::convolution::{geometry, Algorithm, Choice};
use crate::error::Result;
use crate::program::{passes, Dtype, Op, Program};

/// Which of memory and time matters more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    #[default]
    Normal,
    /// The backward computes again what is cheap and large.
    Low,
}

/// Batch norms move into the convolutions before and behind them, as far as the kernels do that.
pub fn fuse_for(program: &mut Program, choice: &Choice, memory: Memory) -> Result<()> {
    fuse_convolutions(program, choice)?;
    if memory == Memory::Low {
        passes::recompute(program);
    }
    Ok(())
}

fn fuse_convolutions(program: &mut Program, choice: &Choice) -> Result<()> {
    let algorithms = algorithms(program, choice)?;
    let ours = |index: usize| algorithms[index].is_some_and(|chosen| chosen != Algorithm::Torch);
    let loads = |index: usize| ours(index) && algorithms[index] != Some(Algorithm::Depthwise);
    passes::fuse_statistics(program, &ours);
    passes::fuse_loads(program, &loads);
    Ok(())
}

/// For each instruction that is a product of a convolution, who computes it.
fn algorithms(program: &Program, choice: &Choice) -> Result<Vec<Option<Algorithm>>> {
    let chosen = program.instructions.iter().map(|instruction| {
        let product = geometry(program, instruction)?;
        let chosen = product.map(|(product, geometry)| {
            choice.of(product, &geometry, dtype(program, &instruction.op))
        });
        chosen.transpose()
    });
    chosen.collect()
}

/// The type of a convolution's activations.
pub fn dtype(program: &Program, op: &Op) -> Dtype {
    let value = match op {
        Op::Convolution(op) => op.x,
        Op::ConvolutionGradInput(op) => op.grad_y,
        Op::ConvolutionGradWeight(op) => op.x,
        _ => return Dtype::Float32,
    };
    program.values[value.0].dtype
}
