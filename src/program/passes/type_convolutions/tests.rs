use serde_json::{json, Value};

use crate::program::{Capture, Op, Program};

const NHWC: [i64; 4] = [2, 3, 8, 8];
const WEIGHT: [i64; 4] = [3, 3, 3, 3];

fn value(shape: &[i64], dtype: &str) -> Value {
    json!({"shape": shape, "dtype": dtype, "channels_last": shape.len() == 4})
}

fn cast(from: usize, to: usize, dtype: &str) -> Value {
    json!({"name": "aten::_to_copy", "overload": "", "outputs": [to],
        "args": [{"tensor": from}, {"some": {"dtype": dtype}}, "none", "none", "none",
            {"bool": false}, "none"]})
}

fn window(transposed: bool) -> Vec<Value> {
    let pair = |n: i64| json!({"list": [{"int": n}, {"int": n}]});
    vec![pair(1), pair(1), pair(1), json!({"bool": transposed}), pair(0), json!({"int": 1})]
}

fn convolution(transposed: bool) -> Value {
    let mut args = vec![json!({"tensor": 0}), json!({"tensor": 2}), json!("none")];
    args.extend(window(transposed));
    json!({"name": "aten::convolution", "overload": "", "args": args, "outputs": [3]})
}

fn backward() -> Value {
    let mut args =
        vec![json!({"tensor": 3}), json!({"tensor": 0}), json!({"tensor": 2}), json!("none")];
    args.extend(window(false));
    args.push(json!({"list": [{"bool": true}, {"bool": true}, {"bool": false}]}));
    json!({"name": "aten::convolution_backward", "overload": "", "args": args,
        "outputs": [4, 5, null]})
}

/// Values: x, master, weight, y, grad_x, grad_weight, the gradient in fp32.
fn lower(dtype: &str, calls: Vec<Value>, gradients: &[usize]) -> Program {
    let values = [
        value(&NHWC, dtype),
        value(&WEIGHT, "float32"),
        value(&WEIGHT, dtype),
        value(&NHWC, dtype),
        value(&NHWC, dtype),
        value(&WEIGHT, dtype),
        value(&WEIGHT, "float32"),
    ];
    let gradients: Vec<Value> = gradients.iter().map(|v| json!([v.to_string(), v])).collect();
    let capture = json!({"values": values, "calls": calls,
        "inputs": [{"name": "x", "role": "batch", "value": 0},
            {"name": "w", "role": "parameter", "value": 1}],
        "outputs": {"loss": null, "predictions": null, "gradients": gradients, "buffers": []}});
    Program::lower(Capture::read(capture).unwrap())
}

fn names(program: &Program) -> Vec<String> {
    program.instructions.iter().map(|instruction| instruction.op.name()).collect()
}

#[test]
fn casts_of_weights_and_gradients_go() {
    let calls = vec![cast(1, 2, "bfloat16"), convolution(false), backward(), cast(5, 6, "float32")];
    let program = lower("bfloat16", calls, &[4, 6]);
    assert_eq!(
        names(&program),
        ["convolution", "convolution_grad_weight", "convolution_grad_input"]
    );
    let Op::Convolution(op) = &program.instructions[0].op else { panic!() };
    assert_eq!((op.x.0, op.weight.0, op.window.padding), (0, 1, [1, 1]));
    assert_eq!(program.instructions[1].outputs[0].map(|v| v.0), Some(6));
}

#[test]
fn a_gradient_read_in_bf16_stays_torchs() {
    let calls = vec![cast(1, 2, "bfloat16"), convolution(false), backward(), cast(5, 6, "float32")];
    let program = lower("bfloat16", calls, &[4, 5, 6]);
    let expected =
        ["aten::_to_copy", "convolution", "aten::convolution_backward", "aten::_to_copy"];
    assert_eq!(names(&program), expected);
}

#[test]
fn unwanted_gradients_are_not_made() {
    let calls = vec![cast(1, 2, "bfloat16"), convolution(false), backward()];
    let program = lower("bfloat16", calls, &[4]);
    assert_eq!(names(&program), ["convolution", "convolution_grad_input"]);
}

#[test]
fn transposed_convolutions_stay_torchs() {
    let program = lower("bfloat16", vec![cast(1, 2, "bfloat16"), convolution(true)], &[3]);
    assert_eq!(names(&program), ["aten::_to_copy", "aten::convolution"]);
}
