//! Images that nobody reads but a cast are wanted in the type of the cast.

use super::{find_readers, is_read_by_caller};
use crate::program::{Dtype, Op, Program, Role, ValueId};

pub fn narrow_images(program: &mut Program) {
    let images = program.inputs.iter().find(|input| input.role == Role::Batch);
    let Some(images) = images.map(|input| input.value) else { return };
    let readers = find_readers(program);
    let casts: Option<Vec<ValueId>> = readers[images.0]
        .iter()
        .map(|reader| {
            let instruction = &program.instructions[*reader];
            let Op::Call(call) = &instruction.op else { return None };
            let result = instruction.outputs.first().copied().flatten()?;
            let narrow = program.values[result.0].dtype == Dtype::Bfloat16;
            (call.is("aten::_to_copy") && narrow).then_some(result)
        })
        .collect();
    let Some(casts) = casts.filter(|casts| !casts.is_empty()) else { return };
    // A graph by itself is given its inputs as they are.
    if is_read_by_caller(program, images) || !program.outputs.results.is_empty() {
        return;
    }
    program.values[images.0].dtype = Dtype::Bfloat16;
    for instruction in &mut program.instructions {
        instruction.op.for_each_value_mut(|value| {
            if casts.contains(value) {
                *value = images;
            }
        });
    }
}
