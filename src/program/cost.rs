//! The least that an instruction has to compute and move, whichever kernel runs it.

use super::{Arg, Call, Instruction, Op, Program, ValueId};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiplications and additions of convolutions and matrix products only.
    pub flops: usize,
    /// Bytes moved if each value is read or written once.
    pub bytes: usize,
}

impl Program {
    pub fn cost(&self, instruction: &Instruction) -> Cost {
        let mut values: Vec<ValueId> = instruction.outputs.iter().flatten().copied().collect();
        instruction.op.for_each_value(|value| values.push(value));
        values.sort_unstable();
        values.dedup();
        let moved: usize = values.iter().map(|value| self.values[value.0].bytes()).sum();
        let bytes = if self.is_view(instruction) { 0 } else { moved };
        Cost { flops: 2 * self.macs(instruction), bytes }
    }

    /// The largest number of bytes that are alive at a time, without the program's inputs.
    pub fn peak_bytes(&self) -> usize {
        let last_uses = super::passes::last_uses(self);
        let (mut now, mut most) = (0, 0);
        let mut held = vec![0; self.values.len()];
        for (instruction, last_uses) in self.instructions.iter().zip(last_uses) {
            // A view shares the memory of another value.
            let own = if self.is_view(instruction) { 0 } else { 1 };
            for value in instruction.outputs.iter().flatten() {
                held[value.0] = own * self.values[value.0].bytes();
                now += held[value.0];
            }
            most = most.max(now);
            for value in last_uses {
                now -= std::mem::take(&mut held[value.0]);
            }
        }
        most
    }

    fn macs(&self, instruction: &Instruction) -> usize {
        let numel = |value: Option<ValueId>| value.map_or(0, |value| self.values[value.0].numel());
        let output = instruction.outputs.first().copied().flatten();
        // For each output channel a weight has one element for each product that is summed up.
        let convolved = |y: Option<ValueId>, weight: ValueId| {
            let shape = &self.values[weight.0].shape;
            numel(y) * shape.iter().skip(1).map(|size| *size as usize).product::<usize>()
        };
        match &instruction.op {
            Op::Convolution(op) => convolved(output, op.weight),
            Op::ConvolutionGradInput(op) => convolved(Some(op.grad_y), op.weight),
            Op::ConvolutionGradWeight(op) => convolved(Some(op.grad_y), op.weight),
            Op::Call(call) => match call.name.as_str() {
                "aten::mm" => numel(output) * self.inner(call, 0),
                "aten::addmm" => numel(output) * self.inner(call, 1),
                "aten::bmm" => numel(output) * self.inner(call, 0),
                "aten::convolution" if call.tensor(1).is_some() => {
                    call.tensor(1).map_or(0, |weight| convolved(output, weight))
                }
                "aten::convolution_backward" => self.backward_macs(call, instruction),
                _ => 0,
            },
            // The products for the scores, and with them; five in the backward.
            Op::Attention(op) => 2 * numel(Some(op.q)) * self.tokens(op.q),
            Op::AttentionBackward(op) => 5 * numel(Some(op.q)) * self.tokens(op.q),
            Op::BatchNorm(_)
            | Op::BatchNormApply(_)
            | Op::BatchNormBackward(_)
            | Op::CrossEntropy(_)
            | Op::LayerNorm(_)
            | Op::LayerNormBackward(_) => 0,
        }
    }

    fn backward_macs(&self, call: &Call, instruction: &Instruction) -> usize {
        let (Some(grad_y), Some(weight)) = (call.tensor(0), call.tensor(2)) else { return 0 };
        let shape = &self.values[weight.0].shape;
        let each: usize = shape.iter().skip(1).map(|size| *size as usize).product();
        let products = instruction.outputs.iter().take(2).flatten().count();
        products * self.values[grad_y.0].numel() * each
    }

    /// The tokens of `[batch, heads, tokens, features]`.
    fn tokens(&self, value: ValueId) -> usize {
        self.values[value.0].shape.get(2).map_or(0, |tokens| *tokens as usize)
    }

    /// The size of the contracted dimension, which is the last one of the argument.
    fn inner(&self, call: &Call, argument: usize) -> usize {
        let value = call.args.get(argument).and_then(Arg::tensor);
        let last = value.and_then(|value| self.values[value.0].shape.last().copied());
        last.unwrap_or(0) as usize
    }

    fn is_view(&self, instruction: &Instruction) -> bool {
        const VIEWS: [&str; 11] = [
            "aten::reshape",
            "aten::permute",
            "aten::t",
            "aten::transpose",
            "aten::expand",
            "aten::squeeze",
            "aten::unsqueeze",
            "aten::as_strided",
            "aten::slice",
            "aten::select",
            "aten::alias",
        ];
        matches!(&instruction.op, Op::Call(call) if VIEWS.contains(&call.name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::testing::{call, tensors};
    use crate::program::{Convolution, Dtype, Outputs, ValueInfo, Window};

    fn program(shapes: &[&[i64]]) -> Program {
        let value = |shape: &&[i64]| ValueInfo {
            shape: shape.to_vec(),
            dtype: Dtype::Bfloat16,
            channels_last: shape.len() == 4,
        };
        let values = shapes.iter().map(value).collect();
        Program { values, inputs: vec![], instructions: vec![], outputs: Outputs::default() }
    }

    #[test]
    fn dead_values_take_no_memory() {
        let mut program = program(&[&[4, 8], &[4, 8], &[8, 4], &[4, 8], &[4, 8]]);
        let call = |name: &str, from: usize, to: usize| call(name, tensors(&[from]), &[to]);
        // The second value is a view of the first, so at most two values are alive at a time.
        program.instructions = vec![
            call("aten::relu", 0, 1),
            call("aten::t", 1, 2),
            call("aten::relu", 1, 3),
            call("aten::relu", 3, 4),
        ];
        assert_eq!(program.peak_bytes(), 2 * 4 * 8 * 2);
    }

    #[test]
    fn a_convolution_is_counted() {
        let program = program(&[&[2, 8, 5, 5], &[16, 4, 3, 3], &[2, 16, 3, 3]]);
        let window =
            Window { stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 2, num_blocks: 1 };
        let op = Convolution::plain(ValueId(0), ValueId(1), None, window);
        let instruction = Instruction { op: Op::Convolution(op), outputs: vec![Some(ValueId(2))] };
        let cost = program.cost(&instruction);
        assert_eq!(cost.flops, 2 * (2 * 16 * 9) * (4 * 9));
        assert_eq!(cost.bytes, 2 * (2 * 8 * 25 + 16 * 4 * 9 + 2 * 16 * 9));
    }

    #[test]
    fn products_and_views_are_counted() {
        let program = program(&[&[10, 7], &[7, 3], &[10, 3]]);
        let call = |name: &str| call(name, tensors(&[0, 1]), &[2]);
        assert_eq!(program.cost(&call("aten::mm")).flops, 2 * 10 * 7 * 3);
        assert_eq!(program.cost(&call("aten::reshape")), Cost::default());
    }
}
