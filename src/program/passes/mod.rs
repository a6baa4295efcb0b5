//! Rewrites of a program, one a file. Each keeps what the program computes.

mod activation;
mod alias;
mod dead_code;
mod fuse_batch_norm;
mod fuse_gradient_adds;
mod liveness;
mod plan_memory;
mod type_convolutions;

pub use alias::remove_aliases;
pub use dead_code::remove_dead_code;
pub use fuse_batch_norm::fuse_batch_norm;
pub use fuse_gradient_adds::fuse_gradient_adds;
pub use liveness::last_uses;
pub use plan_memory::{plan_memory, MemoryPlan};
pub use type_convolutions::type_convolutions;

use super::{Program, ValueId};

/// How often each value is read, outputs of the program included.
fn count_uses(program: &Program) -> Vec<usize> {
    let mut uses = vec![0; program.values.len()];
    for instruction in &program.instructions {
        instruction.op.for_each_value(|value| uses[value.0] += 1);
    }
    program.outputs.values().for_each(|value| uses[value.0] += 1);
    uses
}

/// Which instruction makes each value; `None` for inputs of the program.
fn find_makers(program: &Program) -> Vec<Option<usize>> {
    let mut makers = vec![None; program.values.len()];
    for (index, instruction) in program.instructions.iter().enumerate() {
        for ValueId(value) in instruction.outputs.iter().flatten() {
            makers[*value] = Some(index);
        }
    }
    makers
}
