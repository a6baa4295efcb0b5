//! Removes casts that a program on CUDA does not need.

use std::collections::HashMap;

use super::graph::{Graph, Replacements};
use crate::program::{Dtype, Program, Role, ValueId};

const CAST: &str = "aten::_to_copy";

impl Graph<'_> {
    /// The source and the result of an instruction that is a cast to bf16.
    pub(super) fn cast_to_bf16(&self, index: usize) -> Option<(ValueId, ValueId)> {
        let (source, result) = (self.call(index, CAST)?.tensor(0)?, self.output(index, 0)?);
        (self.dtype(result) == Dtype::Bfloat16).then_some((source, result))
    }
}

/// Leaves one cast to bf16 of each parameter: the optimizer maintains one shadow of each.
pub fn share_casts(program: &mut Program) {
    let graph = Graph::new(program);
    let mut first: HashMap<ValueId, ValueId> = HashMap::new();
    let mut replacements = Replacements::new(program);
    for index in 0..program.instructions.len() {
        let Some((source, result)) = graph.cast_to_bf16(index) else { continue };
        if program.is_parameter(source) {
            replacements.replace(result, *first.entry(source).or_insert(result));
        }
    }
    replacements.apply_to_instructions(program);
}

/// Takes the images in bf16 where every use of them is a cast to it.
pub fn narrow_images(program: &mut Program) {
    let images = program.inputs.iter().find(|input| input.role == Role::Batch);
    let Some(images) = images.map(|input| input.value) else { return };
    let graph = Graph::new(program);
    // The caller of a graph without a loss passes its inputs as they are.
    if graph.is_output(images) || !program.outputs.results.is_empty() {
        return;
    }
    let users = graph.users(images).iter();
    let casts: Option<Vec<_>> = users.map(|user| graph.cast_to_bf16(*user)).collect();
    let Some(casts) = casts.filter(|casts| !casts.is_empty()) else { return };
    let mut replacements = Replacements::new(program);
    casts.into_iter().for_each(|(_, result)| replacements.replace(result, images));
    program.values[images.0].dtype = Dtype::Bfloat16;
    replacements.apply_to_instructions(program);
}

/// Returns gradients before their last cast from bf16: the optimizer reads either type.
pub fn take_bf16_gradients(program: &mut Program) {
    let graph = Graph::new(program);
    let uncast = |gradient: ValueId| {
        let source = graph.call(graph.definition(gradient)?, CAST)?.tensor(0)?;
        (graph.dtype(source) == Dtype::Bfloat16).then_some(source)
    };
    let gradients = program.outputs.gradients.iter();
    let gradients: Vec<ValueId> =
        gradients.map(|(_, gradient)| uncast(*gradient).unwrap_or(*gradient)).collect();
    for ((_, gradient), uncast) in program.outputs.gradients.iter_mut().zip(gradients) {
        *gradient = uncast;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::testing::{add, call, reads, tensors};
    use crate::program::{Input, Instruction, Outputs, ValueInfo};

    fn cast(from: usize, to: usize) -> Instruction {
        call(CAST, tensors(&[from]), &[to])
    }

    /// Values are fp32 except for `narrow`; 0 are the images, 1 is a parameter.
    fn program(instructions: Vec<Instruction>, narrow: &[usize]) -> Program {
        let value = |index: usize| ValueInfo {
            shape: vec![4],
            dtype: if narrow.contains(&index) { Dtype::Bfloat16 } else { Dtype::Float32 },
            channels_last: false,
        };
        let input =
            |name: &str, role, value| Input { name: name.into(), role, value: ValueId(value) };
        let inputs = vec![input("images", Role::Batch, 0), input("weight", Role::Parameter, 1)];
        let values = (0..10).map(value).collect();
        Program { values, inputs, instructions, outputs: Outputs::default() }
    }

    #[test]
    fn images_are_taken_in_the_type_they_are_cast_to() {
        let mut narrowed = program(vec![cast(0, 2), add(2, 2, 3, 1)], &[2, 3]);
        narrow_images(&mut narrowed);
        assert_eq!(narrowed.values[0].dtype, Dtype::Bfloat16);
        assert_eq!(reads(&narrowed, 1), [0, 0]);
        // One use is no cast.
        let mut kept = program(vec![cast(0, 2), add(0, 2, 3, 1)], &[2]);
        narrow_images(&mut kept);
        assert_eq!(kept.values[0].dtype, Dtype::Float32);
        assert_eq!(reads(&kept, 1), [0, 2]);
    }

    #[test]
    fn a_parameter_is_cast_once() {
        let mut shared =
            program(vec![cast(1, 2), cast(1, 3), add(2, 3, 4, 1), cast(4, 5)], &[2, 3, 5]);
        share_casts(&mut shared);
        assert_eq!(reads(&shared, 2), [2, 2]);
        assert_eq!(reads(&shared, 3), [4]);
    }

    #[test]
    fn gradients_are_returned_in_bf16() {
        let mut taken = program(vec![add(0, 0, 2, 1), cast(2, 3), cast(3, 4)], &[2]);
        taken.outputs.gradients = vec![("weight".into(), ValueId(3)), ("other".into(), ValueId(4))];
        take_bf16_gradients(&mut taken);
        let values: Vec<usize> = taken.outputs.gradients.iter().map(|(_, v)| v.0).collect();
        assert_eq!(values, [2, 4]);
    }
}
