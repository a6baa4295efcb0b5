use serde_json::{json, Value};

use crate::activation::Activation;
use crate::program::passes::last_uses;
use crate::program::{BatchNormBackward, Capture, Mask, Op, Program, ValueId};

/// Builds captures by hand: every value is an NHWC activation unless it is a vector.
#[derive(Default)]
struct Trace {
    values: Vec<Value>,
    inputs: Vec<Value>,
    calls: Vec<Value>,
}

impl Trace {
    fn value(&mut self, shape: &[i64]) -> usize {
        let nhwc = shape.len() == 4;
        self.values.push(json!({"shape": shape, "dtype": "float32", "channels_last": nhwc}));
        self.values.len() - 1
    }

    fn input(&mut self, shape: &[i64]) -> usize {
        let value = self.value(shape);
        self.inputs.push(json!({"name": format!("i{value}"), "role": "batch", "value": value}));
        value
    }

    fn call(&mut self, name: &str, overload: &str, args: Value, shapes: &[&[i64]]) -> Vec<usize> {
        let outputs: Vec<usize> = shapes.iter().map(|shape| self.value(shape)).collect();
        let name = format!("aten::{name}");
        self.calls
            .push(json!({"name": name, "overload": overload, "args": args, "outputs": outputs}));
        outputs
    }

    /// Batch norm; gives y, save_mean, save_invstd and the running statistics.
    fn norm(&mut self, x: usize, vector: usize) -> Vec<usize> {
        let optional = json!({"some": {"tensor": vector}});
        let tensor = json!({"tensor": vector});
        let args = json!([{"tensor": x}, optional, optional, tensor, tensor,
            {"bool": true}, {"float": 0.1}, {"float": 1e-5}]);
        self.call("_native_batch_norm_legit_functional", "", args, &[X, C, C, C, C])
    }

    fn norm_backward(
        &mut self,
        grad: usize,
        x: usize,
        norm: &[usize],
        vector: usize,
    ) -> Vec<usize> {
        let some = |value: usize| json!({"some": {"tensor": value}});
        let args = json!([{"tensor": grad}, {"tensor": x}, some(vector), some(vector), some(vector),
            some(norm[1]), some(norm[2]), {"bool": true}, {"float": 1e-5},
            {"list": [{"bool": true}, {"bool": true}, {"bool": true}]}]);
        self.call("native_batch_norm_backward", "", args, &[X, C, C])
    }

    fn add(&mut self, a: usize, b: usize) -> usize {
        let args = json!([{"tensor": a}, {"tensor": b}, {"scalar": 1}]);
        self.call("add", "Tensor", args, &[X])[0]
    }

    fn relu(&mut self, x: usize) -> usize {
        self.call("relu", "", json!([{"tensor": x}]), &[X])[0]
    }

    fn relu_backward(&mut self, grad: usize, y: usize) -> usize {
        let args = json!([{"tensor": grad}, {"tensor": y}, {"scalar": 0}]);
        self.call("threshold_backward", "", args, &[X])[0]
    }

    /// LeakyReLU, and its backward from its input or, in place, from its output.
    fn leaky_relu(&mut self, x: usize, slope: f64) -> usize {
        self.call("leaky_relu", "", json!([{"tensor": x}, {"scalar": slope}]), &[X])[0]
    }

    fn leaky_relu_backward(&mut self, grad: usize, x: usize, slope: f64, result: bool) -> usize {
        let args = json!([{"tensor": grad}, {"tensor": x}, {"scalar": slope}, {"bool": result}]);
        self.call("leaky_relu_backward", "", args, &[X])[0]
    }

    fn hardtanh(&mut self, x: usize, max: f64) -> usize {
        let args = json!([{"tensor": x}, {"scalar": 0.0}, {"scalar": max}]);
        self.call("hardtanh", "", args, &[X])[0]
    }

    fn hardtanh_backward(&mut self, grad: usize, x: usize, max: f64) -> usize {
        let args = json!([{"tensor": grad}, {"tensor": x}, {"scalar": 0.0}, {"scalar": max}]);
        self.call("hardtanh_backward", "", args, &[X])[0]
    }

    fn lower(self, outputs: &[usize]) -> Program {
        let named: Vec<Value> =
            outputs.iter().map(|value| json!([format!("g{value}"), value])).collect();
        let outputs = json!({"loss": null, "predictions": null, "gradients": named, "buffers": []});
        let capture = json!({"values": self.values, "inputs": self.inputs, "calls": self.calls,
            "outputs": outputs});
        Program::lower(Capture::read(capture).unwrap())
    }
}

const X: &[i64] = &[2, 3, 4, 5];
const C: &[i64] = &[3];

fn names(program: &Program) -> Vec<String> {
    program.instructions.iter().map(|instruction| instruction.op.name()).collect()
}

#[test]
fn fuses_forward_and_backward() {
    let mut trace = Trace::default();
    let (x, c, grad) = (trace.input(X), trace.input(C), trace.input(X));
    let norm = trace.norm(x, c);
    let y = trace.relu(norm[0]);
    let masked = trace.relu_backward(grad, y);
    let back = trace.norm_backward(masked, x, &norm, c);
    let program = trace.lower(&[y, norm[3], back[0], back[1]]);
    assert_eq!(names(&program), ["batch_norm_relu", "batch_norm_relu_backward"]);
    // Nobody else reads the masked gradient, so it is not kept.
    assert_eq!(program.instructions[1].outputs[3], None);
}

fn backward(program: &Program, index: usize) -> &BatchNormBackward {
    match &program.instructions[index].op {
        Op::BatchNormBackward(op) => op,
        other => panic!("{other:?}"),
    }
}

#[test]
fn leaky_relu_is_fused() {
    for in_place in [false, true] {
        let mut trace = Trace::default();
        let (x, c, grad) = (trace.input(X), trace.input(C), trace.input(X));
        let norm = trace.norm(x, c);
        let y = trace.leaky_relu(norm[0], 0.25);
        let from = if in_place { y } else { norm[0] };
        let masked = trace.leaky_relu_backward(grad, from, 0.25, in_place);
        let back = trace.norm_backward(masked, x, &norm, c);
        let program = trace.lower(&[y, back[0]]);
        assert_eq!(names(&program), ["batch_norm_leaky_relu", "batch_norm_leaky_relu_backward"]);
        let op = backward(&program, 1);
        assert_eq!(op.activation, Activation { slope: 0.25, max: f32::INFINITY });
        assert_eq!(op.mask, Mask::Recomputed { bias: Some(ValueId(c)) });
    }
}

#[test]
fn relu6_is_fused_though_its_backward_reads_its_input() {
    for in_place in [false, true] {
        let mut trace = Trace::default();
        let (x, c, grad, skip) = (trace.input(X), trace.input(C), trace.input(X), trace.input(X));
        let norm = trace.norm(x, c);
        let sum = trace.add(skip, norm[0]);
        let kept = match in_place {
            true => trace.call("clone", "", json!([{"tensor": sum}, "none"]), &[X])[0],
            false => sum,
        };
        let y = trace.hardtanh(sum, 6.0);
        let masked = trace.hardtanh_backward(grad, kept, 6.0);
        let back = trace.norm_backward(masked, x, &norm, c);
        let program = trace.lower(&[y, back[0], masked]);
        assert_eq!(names(&program), ["batch_norm_add_relu6", "batch_norm_relu6_backward"]);
        assert_eq!(backward(&program, 1).mask, Mask::Output(ValueId(y)));
        assert_eq!(program.instructions[1].outputs[3], Some(ValueId(masked)));
    }
}

#[test]
fn a_backward_that_stays_reads_the_output_instead() {
    // The gradient goes elsewhere before it reaches the batch norm.
    let mut trace = Trace::default();
    let (x, c, grad) = (trace.input(X), trace.input(C), trace.input(X));
    let norm = trace.norm(x, c);
    let y = trace.hardtanh(norm[0], 6.0);
    let masked = trace.hardtanh_backward(grad, norm[0], 6.0);
    let doubled = trace.add(masked, masked);
    let back = trace.norm_backward(doubled, x, &norm, c);
    let program = trace.lower(&[y, back[0]]);
    let expected =
        ["batch_norm_relu6", "aten::hardtanh_backward", "aten::add.Tensor", "batch_norm_backward"];
    assert_eq!(names(&program), expected);
    let Op::Call(call) = &program.instructions[1].op else { panic!("{program}") };
    assert_eq!(call.tensor(1), Some(ValueId(y)));
}

#[test]
fn other_activations_stay() {
    let lowered = |build: &dyn Fn(&mut Trace, usize) -> Vec<usize>| {
        let mut trace = Trace::default();
        let (x, c) = (trace.input(X), trace.input(C));
        let norm = trace.norm(x, c);
        let outputs = build(&mut trace, norm[0]);
        names(&trace.lower(&outputs))
    };
    let plain = ["batch_norm", "aten::hardtanh"];
    assert_eq!(lowered(&|trace, y| vec![trace.hardtanh(y, 1.0)]), plain);
    // A negative slope hides the sign; a value that is an output has to be made.
    let plain = ["batch_norm", "aten::leaky_relu"];
    assert_eq!(lowered(&|trace, y| vec![trace.leaky_relu(y, -0.1)]), plain);
    assert_eq!(lowered(&|trace, y| vec![trace.leaky_relu(y, 0.1), y]), plain);
    // The backward of another slope.
    let mixed = ["batch_norm", "aten::leaky_relu", "aten::leaky_relu_backward"];
    let build = |trace: &mut Trace, y| {
        let out = trace.leaky_relu(y, 0.1);
        vec![trace.leaky_relu_backward(out, y, 0.2, false)]
    };
    assert_eq!(lowered(&build), mixed);
}

#[test]
fn residual_takes_the_masked_gradient() {
    let mut trace = Trace::default();
    let (x, c, grad, skip) = (trace.input(X), trace.input(C), trace.input(X), trace.input(X));
    let norm = trace.norm(x, c);
    let sum = trace.add(norm[0], skip);
    let y = trace.relu(sum);
    let masked = trace.relu_backward(grad, y);
    let back = trace.norm_backward(masked, x, &norm, c);
    let total = trace.add(masked, back[0]);
    let program = trace.lower(&[y, total]);
    assert_eq!(
        names(&program),
        ["batch_norm_add_relu", "batch_norm_relu_backward", "aten::add.Tensor"]
    );
    assert!(program.instructions[1].outputs[3].is_some());
}

#[test]
fn two_norms_that_meet_share_one_add() {
    let mut trace = Trace::default();
    let (x, c, grad) = (trace.input(X), trace.input(C), trace.input(X));
    let (main, shortcut) = (trace.norm(x, c), trace.norm(x, c));
    let sum = trace.add(main[0], shortcut[0]);
    let y = trace.relu(sum);
    let masked = trace.relu_backward(grad, y);
    let back_shortcut = trace.norm_backward(masked, x, &shortcut, c);
    let back_main = trace.norm_backward(masked, x, &main, c);
    let program = trace.lower(&[y, back_shortcut[0], back_main[0]]);
    let expected =
        ["batch_norm", "batch_norm_add_relu", "batch_norm_relu_backward", "batch_norm_backward"];
    let mut found = names(&program);
    // Which of the two backwards has the mask is free; it has to come first.
    assert_eq!(found.len(), 4, "{program}");
    assert_eq!(found.remove(0), expected[0]);
    assert_eq!(found, expected[1..]);
}

#[test]
fn leaves_what_it_must_not_touch() {
    // The norm's output is read twice: the ReLU cannot go into it.
    let mut trace = Trace::default();
    let (x, c) = (trace.input(X), trace.input(C));
    let norm = trace.norm(x, c);
    let y = trace.relu(norm[0]);
    let sum = trace.add(norm[0], y);
    assert_eq!(names(&trace.lower(&[sum])), ["batch_norm", "aten::relu", "aten::add.Tensor"]);
    // A matrix has no NHWC kernel.
    let mut trace = Trace::default();
    let (x, c) = (trace.input(&[2, 3]), trace.input(C));
    let norm = trace.norm(x, c);
    let program = trace.lower(&[norm[0]]);
    assert_eq!(names(&program), ["aten::_native_batch_norm_legit_functional"]);
}

#[test]
fn values_are_freed_after_their_last_use() {
    let mut trace = Trace::default();
    let x = trace.input(X);
    let a = trace.relu(x);
    let b = trace.relu(a);
    let dead = trace.relu(b);
    let c = trace.add(a, b);
    let program = trace.lower(&[c]);
    assert!(!program.to_string().contains(&format!("%{dead}:")));
    let lists: Vec<Vec<usize>> =
        last_uses(&program).iter().map(|list| list.iter().map(|value| value.0).collect()).collect();
    assert_eq!(lists, [vec![], vec![], vec![a, b]]);
}

#[test]
fn a_copy_of_an_input_stays_a_copy() {
    let mut trace = Trace::default();
    let x = trace.input(X);
    let copy = trace.call("clone", "", json!([{"tensor": x}, "none"]), &[X])[0];
    let sum = trace.add(copy, x);
    let other = trace.call("clone", "", json!([{"tensor": sum}, "none"]), &[X])[0];
    let program = trace.lower(&[copy, other]);
    assert_eq!(names(&program), ["aten::clone", "aten::add.Tensor"]);
}
