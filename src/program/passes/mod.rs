//! Rewrites of a program, one a file. Each keeps what the program computes.

mod activation;
mod alias;
mod cross_entropy;
#[cfg(test)]
mod cuda_tests;
mod dead_code;
mod fold_batch_norm;
mod fuse_batch_norm;
mod fuse_gradient_adds;
mod fuse_loads;
mod fuse_statistics;
mod liveness;
mod move_to;
mod narrow_images;
mod normalization;
mod plan_memory;
mod recompute;
mod share_casts;
mod take_bf16_gradients;
#[cfg(test)]
mod testing;
mod tie_convolutions;
mod type_convolutions;

pub use alias::remove_aliases;
pub use cross_entropy::lower_cross_entropy;
pub use dead_code::remove_dead_code;
pub use fold_batch_norm::fold_batch_norm;
pub use fuse_batch_norm::fuse_batch_norm;
pub use fuse_gradient_adds::fuse_gradient_adds;
pub use fuse_loads::fuse_loads;
pub use fuse_statistics::fuse_statistics;
pub use liveness::last_uses;
pub use move_to::move_to;
pub use narrow_images::narrow_images;
pub use plan_memory::{plan_memory, MemoryPlan};
pub use recompute::recompute;
pub use share_casts::share_casts;
pub use take_bf16_gradients::take_bf16_gradients;
pub use tie_convolutions::tie_convolutions;
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

/// The instructions that read each value, each once.
fn find_readers(program: &Program) -> Vec<Vec<usize>> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); program.values.len()];
    for (index, instruction) in program.instructions.iter().enumerate() {
        instruction.op.for_each_value(|value| {
            if readers[value.0].last() != Some(&index) {
                readers[value.0].push(index);
            }
        });
    }
    readers
}

fn is_read_by_caller(program: &Program, value: ValueId) -> bool {
    program.outputs.values().any(|output| output == value)
}
