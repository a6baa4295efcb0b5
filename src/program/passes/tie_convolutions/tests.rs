use serde_json::{json, Value};

use crate::program::{Capture, Op, Program};

const X: [i64; 4] = [2, 8, 5, 5];
const SHARED: [i64; 4] = [6, 4, 3, 3];
const REPEATED: [i64; 4] = [12, 4, 3, 3];

fn value(shape: &[i64]) -> Value {
    json!({"shape": shape, "dtype": "float32", "channels_last": false})
}

fn ints(numbers: &[i64]) -> Value {
    json!({"list": numbers.iter().map(|n| json!({"int": n})).collect::<Vec<_>>()})
}

fn call(name: &str, overload: &str, args: Vec<Value>, outputs: Value) -> Value {
    json!({"name": name, "overload": overload, "args": args, "outputs": outputs})
}

fn tensors(values: &[usize]) -> Vec<Value> {
    values.iter().map(|value| json!({"tensor": value})).collect()
}

fn window() -> Vec<Value> {
    let transposed = json!({"bool": false});
    vec![ints(&[1, 1]), ints(&[1, 1]), ints(&[1, 1]), transposed, ints(&[0, 0]), json!({"int": 2})]
}

fn repeat(from: usize, repeats: &[i64], to: usize) -> Value {
    let args = [tensors(&[from]), vec![ints(repeats)]].concat();
    call("aten::repeat", "", args, json!([to]))
}

fn convolution() -> Value {
    let bias = json!({"some": {"tensor": 4}});
    let args = [tensors(&[0, 3]), vec![bias], window()].concat();
    call("aten::convolution", "", args, json!([5]))
}

fn backward() -> Value {
    let mask = json!({"list": [{"bool": true}, {"bool": true}, {"bool": true}]});
    let sizes = json!({"some": ints(&[12])});
    let args = [tensors(&[5, 0, 3]), vec![sizes], window(), vec![mask]].concat();
    call("aten::convolution_backward", "", args, json!([6, 7, 8]))
}

fn sum(from: usize, split: usize, shape: &[i64], dim: i64, to: usize) -> Vec<Value> {
    let reshape = [tensors(&[from]), vec![ints(shape)]].concat();
    let dims = json!({"some": ints(&[dim])});
    let add = [tensors(&[split]), vec![dims, json!({"bool": false}), json!("none")]].concat();
    vec![
        call("aten::view", "", reshape, json!([split])),
        call("aten::sum", "dim_IntList", add, json!([to])),
    ]
}

/// Values: x, weight, bias, both repeated, y, grad_x, gradients of what was repeated, those by
/// block, their sums.
fn lower(calls: Vec<Value>, gradients: &[usize]) -> Program {
    let by_block: [i64; 5] = [2, 6, 4, 3, 3];
    let shapes: [&[i64]; 13] = [
        &X,
        &SHARED,
        &[6],
        &REPEATED,
        &[12],
        &[2, 12, 5, 5],
        &X,
        &REPEATED,
        &[12],
        &by_block,
        &[2, 6],
        &SHARED,
        &[6],
    ];
    let values: Vec<Value> = shapes.into_iter().map(value).collect();
    let gradients: Vec<Value> = gradients.iter().map(|v| json!([v.to_string(), v])).collect();
    let inputs = [("x", "batch", 0), ("w", "parameter", 1), ("b", "parameter", 2)];
    let inputs = inputs.map(|(name, role, at)| json!({"name": name, "role": role, "value": at}));
    let capture = json!({"values": values, "calls": calls, "inputs": inputs,
        "outputs": {"loss": null, "predictions": null, "gradients": gradients, "buffers": []}});
    Program::lower(Capture::read(capture).unwrap())
}

fn step(dim: i64) -> Vec<Value> {
    let mut calls =
        vec![repeat(1, &[2, 1, 1, 1], 3), repeat(2, &[2], 4), convolution(), backward()];
    calls.extend(sum(7, 9, &[2, 6, 4, 3, 3], dim, 11));
    calls.extend(sum(8, 10, &[2, 6], 0, 12));
    calls
}

fn names(program: &Program) -> Vec<String> {
    program.instructions.iter().map(|instruction| instruction.op.name()).collect()
}

#[test]
fn the_weight_is_read_as_it_is() {
    let program = lower(step(0), &[6, 11, 12]);
    let expected = ["convolution", "convolution_grad_weight", "convolution_grad_input"];
    assert_eq!(names(&program), expected);
    let Op::Convolution(op) = &program.instructions[0].op else { panic!() };
    assert_eq!((op.weight.0, op.bias.map(|bias| bias.0), op.window.num_blocks), (1, Some(2), 2));
    let sums: Vec<_> = program.instructions[1].outputs.iter().flatten().map(|v| v.0).collect();
    assert_eq!(sums, [11, 12]);
    assert!(program.values[11].channels_last);
    let Op::ConvolutionGradInput(op) = &program.instructions[2].op else { panic!() };
    assert_eq!((op.weight.0, op.window.num_blocks), (1, 2));
}

#[test]
fn a_gradient_that_others_read_stays_whole() {
    let program = lower(step(0), &[7, 11, 12]);
    assert!(names(&program).contains(&"aten::sum.dim_IntList".to_owned()));
    let whole = program.instructions.iter().find_map(|instruction| match &instruction.op {
        Op::ConvolutionGradWeight(op) => Some((op.weight.0, op.window.num_blocks)),
        _ => None,
    });
    assert_eq!(whole, Some((3, 1)));
}

#[test]
fn other_sums_are_not_over_blocks() {
    let program = lower(step(1), &[11, 12]);
    assert!(names(&program).contains(&"aten::sum.dim_IntList".to_owned()));
}

#[test]
fn a_bias_of_its_own_keeps_a_convolution_whole() {
    let mut calls = vec![repeat(1, &[2, 1, 1, 1], 3), convolution()];
    // All twelve of the bias come from elsewhere.
    calls.insert(0, call("aten::cat", "", vec![json!({"list": tensors(&[2, 2])})], json!([4])));
    let program = lower(calls, &[5]);
    assert_eq!(names(&program), ["aten::cat", "aten::repeat", "convolution"]);
}
