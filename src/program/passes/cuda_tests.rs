//! The passes for CUDA, on programs of a few calls.

use super::*;
use crate::program::{Arg, Call, Dtype, Input, Instruction, Op, Outputs, Role, ValueInfo};

fn call(name: &str, args: Vec<Arg>, output: usize) -> Instruction {
    let (name, overload) = (name.to_owned(), String::new());
    let op = Op::Call(Call { name, overload, args, returns_list: false });
    Instruction { op, outputs: vec![Some(ValueId(output))] }
}

fn cast(from: usize, to: usize) -> Instruction {
    call("aten::_to_copy", vec![Arg::Tensor(ValueId(from))], to)
}

/// Values are fp32 but for `narrow`; 0 are the images, 1 is a parameter.
fn program(instructions: Vec<Instruction>, narrow: &[usize]) -> Program {
    let value = |index: usize| ValueInfo {
        shape: vec![4],
        dtype: if narrow.contains(&index) { Dtype::Bfloat16 } else { Dtype::Float32 },
        channels_last: false,
    };
    let input = |name: &str, role, value| Input { name: name.into(), role, value: ValueId(value) };
    let inputs = vec![input("images", Role::Batch, 0), input("weight", Role::Parameter, 1)];
    let values = (0..10).map(value).collect();
    Program { values, inputs, instructions, outputs: Outputs::default() }
}

fn reads(program: &Program, index: usize) -> Vec<usize> {
    let mut read = Vec::new();
    program.instructions[index].op.for_each_value(|value| read.push(value.0));
    read
}

fn add(a: usize, b: usize, to: usize) -> Instruction {
    call("aten::add", vec![Arg::Tensor(ValueId(a)), Arg::Tensor(ValueId(b))], to)
}

#[test]
fn images_come_in_the_type_they_are_cast_to() {
    let mut narrowed = program(vec![cast(0, 2), add(2, 2, 3)], &[2, 3]);
    narrow_images(&mut narrowed);
    assert_eq!(narrowed.values[0].dtype, Dtype::Bfloat16);
    assert_eq!(reads(&narrowed, 1), [0, 0]);
    // Somebody reads them as they are.
    let mut kept = program(vec![cast(0, 2), add(0, 2, 3)], &[2]);
    narrow_images(&mut kept);
    assert_eq!(kept.values[0].dtype, Dtype::Float32);
    assert_eq!(reads(&kept, 1), [0, 2]);
}

#[test]
fn a_parameter_has_one_copy() {
    let mut shared = program(vec![cast(1, 2), cast(1, 3), add(2, 3, 4), cast(4, 5)], &[2, 3, 5]);
    share_casts(&mut shared);
    assert_eq!(reads(&shared, 2), [2, 2]);
    assert_eq!(reads(&shared, 3), [4]);
}

#[test]
fn gradients_are_read_in_bf16() {
    let mut taken = program(vec![add(0, 0, 2), cast(2, 3), cast(3, 4)], &[2]);
    taken.outputs.gradients = vec![("weight".into(), ValueId(3)), ("other".into(), ValueId(4))];
    take_bf16_gradients(&mut taken);
    let values: Vec<usize> = taken.outputs.gradients.iter().map(|(_, value)| value.0).collect();
    assert_eq!(values, [2, 4]);
}

#[test]
fn tensors_are_made_on_the_device() {
    let device = Arg::Some(Box::new(Arg::Device("cpu".into())));
    let mut moved = program(vec![call("aten::full", vec![device], 2)], &[]);
    move_to(&mut moved, "cuda:1");
    let Op::Call(call) = &moved.instructions[0].op else { panic!("a call") };
    assert_eq!(call.args, [Arg::Some(Box::new(Arg::Device("cuda:1".into())))]);
}
