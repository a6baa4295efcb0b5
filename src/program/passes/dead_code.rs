//! Instructions none of whose results are read are dropped.

use crate::program::Program;

/// A captured graph is functional, so an instruction has no effect but its results. A result that
/// nobody reads loses its place, so that the engine frees it at once.
pub fn remove_dead_code(program: &mut Program) {
    let mut wanted = vec![false; program.values.len()];
    program.outputs.values().for_each(|value| wanted[value.0] = true);
    for instruction in program.instructions.iter_mut().rev() {
        for place in &mut instruction.outputs {
            *place = place.filter(|value| wanted[value.0]);
        }
        if instruction.outputs.iter().any(Option::is_some) {
            instruction.op.for_each_value(|value| wanted[value.0] = true);
        }
    }
    program.instructions.retain(|instruction| instruction.outputs.iter().any(Option::is_some));
}
