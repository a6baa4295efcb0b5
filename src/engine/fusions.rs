//! The rewrites of a program that depend on the algorithms of its convolutions.

use super::convolution::Choice;
use crate::error::Result;
use crate::program::{passes, Program};

/// Whether memory or time matters more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    #[default]
    Normal,
    /// The backward recomputes what is cheap to compute and large to keep.
    Low,
}

/// Chooses the algorithm of each convolution, then moves batch norms into the convolutions before
/// and after them as far as those algorithms support it.
pub fn fuse_for(program: &mut Program, choice: &Choice, memory: Memory) -> Result<()> {
    choice.apply(program)?;
    passes::fuse_statistics(program);
    passes::fuse_loads(program);
    if memory == Memory::Low {
        passes::recompute(program);
    }
    Ok(())
}
