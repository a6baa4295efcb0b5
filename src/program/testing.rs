//! Programs for the tests of this module.

use crate::activation::Activation;
use crate::program::{
    Algorithm, Arg, BatchNorm, BatchNormBackward, Call, Convolution, ConvolutionGradInput,
    ConvolutionGradWeight, Dtype, Instruction, Mask, Number, Op, Outputs, Program, ValueId,
    ValueInfo, Window,
};

/// The value that all convolutions take as their weight.
pub const WEIGHT: ValueId = ValueId(0);
const WINDOW: Window =
    Window { stride: [1; 2], padding: [1; 2], dilation: [1; 2], groups: 1, num_blocks: 1 };

/// A program with the loss `loss` and 40 values, which are all activations of one shape.
pub fn program(instructions: Vec<Instruction>, loss: usize) -> Program {
    let outputs = Outputs { loss: Some(ValueId(loss)), ..Outputs::default() };
    program_with(instructions, outputs)
}

pub fn program_with(instructions: Vec<Instruction>, outputs: Outputs) -> Program {
    let info = ValueInfo { shape: vec![2, 3, 4, 4], dtype: Dtype::Float32, channels_last: true };
    Program { values: vec![info; 40], inputs: Vec::new(), instructions, outputs }
}

pub fn names(program: &Program) -> Vec<String> {
    program.instructions.iter().map(|instruction| instruction.op.name()).collect()
}

/// The values that an instruction reads.
pub fn reads(program: &Program, index: usize) -> Vec<usize> {
    let mut read = Vec::new();
    program.instructions[index].op.for_each_value(|value| read.push(value.0));
    read
}

pub fn tensors(values: &[usize]) -> Vec<Arg> {
    values.iter().map(|value| Arg::Tensor(ValueId(*value))).collect()
}

pub fn call(name: &str, args: Vec<Arg>, outputs: &[usize]) -> Instruction {
    let (name, overload) = (name.to_owned(), String::new());
    let op = Op::Call(Call { name, overload, args, returns_list: false, draws: false });
    Instruction { op, outputs: outputs.iter().map(|value| Some(ValueId(*value))).collect() }
}

/// `a + alpha * b`.
pub fn add(a: usize, b: usize, to: usize, alpha: i64) -> Instruction {
    let args = [tensors(&[a, b]), vec![Arg::Scalar(Number::Int(alpha))]].concat();
    let mut add = call("aten::add", args, &[to]);
    if let Op::Call(call) = &mut add.op {
        call.overload = "Tensor".to_owned();
    }
    add
}

pub fn convolution(x: usize, y: usize) -> Instruction {
    let algorithm = Some(Algorithm::Direct);
    let plain = Convolution::plain(ValueId(x), WEIGHT, None, WINDOW);
    let op = Op::Convolution(Convolution { algorithm, ..plain });
    Instruction { op, outputs: vec![Some(ValueId(y))] }
}

pub fn set_algorithm(instruction: &mut Instruction, algorithm: Algorithm) {
    match &mut instruction.op {
        Op::Convolution(op) => op.algorithm = Some(algorithm),
        other => panic!("{} is no convolution", other.name()),
    }
}

/// Its mean is `y + 1`, its invstd `y + 2`.
pub fn batch_norm(x: usize, residual: Option<usize>, y: usize) -> Instruction {
    let op = Op::BatchNorm(BatchNorm {
        x: ValueId(x),
        moments: None,
        weight: None,
        bias: None,
        residual: residual.map(ValueId),
        running: None,
        momentum: 0.1,
        eps: 1e-5,
        activation: Activation::RELU,
    });
    Instruction { op, outputs: [y, y + 1, y + 2].map(|value| Some(ValueId(value))).to_vec() }
}

/// The backward of the batch norm with the result `y`.
pub fn batch_norm_backward(grad_y: usize, x: usize, y: usize, to: usize) -> Instruction {
    let op = Op::BatchNormBackward(BatchNormBackward {
        grad_y: ValueId(grad_y),
        activation: Activation::RELU,
        mask: Mask::Recomputed { bias: None },
        x: ValueId(x),
        weight: None,
        save_mean: ValueId(y + 1),
        save_invstd: ValueId(y + 2),
    });
    Instruction { op, outputs: vec![Some(ValueId(to)), None, None] }
}

pub fn grad_weight(grad_y: usize, x: usize, to: usize) -> Instruction {
    let op = Op::ConvolutionGradWeight(ConvolutionGradWeight {
        grad_y: ValueId(grad_y),
        x: ValueId(x),
        load: None,
        weight: WEIGHT,
        window: WINDOW,
        algorithm: Some(Algorithm::Direct),
    });
    Instruction { op, outputs: vec![Some(ValueId(to))] }
}

pub fn grad_input(grad_y: usize, to: usize) -> Instruction {
    let op = Op::ConvolutionGradInput(ConvolutionGradInput {
        grad_y: ValueId(grad_y),
        weight: WEIGHT,
        window: WINDOW,
        add: None,
        algorithm: Some(Algorithm::Direct),
    });
    Instruction { op, outputs: vec![Some(ValueId(to))] }
}
