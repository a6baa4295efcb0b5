//! Convolutions that a kernel may take become operations of their own: one for each product, on
//! the fp32 master of the weight.

use super::{count_uses, find_makers};
use crate::program::{
    Arg, Call, Convolution, ConvolutionGradInput, ConvolutionGradWeight, Dtype, Instruction, Op,
    Program, ValueId, Window,
};

/// Under autocast the graph casts a weight to bf16, convolves, and casts the weight's gradient
/// back. Kernels pack the master themselves and sum gradients in fp32, so both casts are left out.
/// What does not fit stays a call of torch.
pub fn type_convolutions(program: &mut Program) {
    let graph = Graph { program, uses: count_uses(program), makers: find_makers(program) };
    let mut absorbed = vec![false; program.instructions.len()];
    let mut rewritten = Vec::new();
    for index in 0..program.instructions.len() {
        match graph.forward(index).or_else(|| graph.backward(index, &mut absorbed)) {
            Some(typed) => rewritten.push(typed),
            None => rewritten.push(vec![program.instructions[index].clone()]),
        }
    }
    let kept = rewritten.into_iter().zip(absorbed).filter(|(_, absorbed)| !absorbed);
    program.instructions = kept.flat_map(|(typed, _)| typed).collect();
}

const CAST: &str = "aten::_to_copy";

/// The value of a gradient, and the cast that made it.
#[derive(Clone, Copy)]
struct Gradient {
    value: Option<ValueId>,
    cast: Option<usize>,
}

struct Graph<'a> {
    program: &'a Program,
    uses: Vec<usize>,
    makers: Vec<Option<usize>>,
}

impl<'a> Graph<'a> {
    fn call(&self, index: usize, name: &str) -> Option<&'a Call> {
        match &self.program.instructions.get(index)?.op {
            Op::Call(call) if call.is(name) => Some(call),
            _ => None,
        }
    }

    fn dtype(&self, value: ValueId) -> Dtype {
        self.program.values[value.0].dtype
    }

    fn rank(&self, value: ValueId) -> usize {
        self.program.values[value.0].shape.len()
    }

    /// The fp32 tensor that `value` is, or that it was cast from; in bf16 what somebody else has
    /// cast.
    fn master(&self, value: ValueId) -> Option<ValueId> {
        let is_float = |value: &ValueId| self.dtype(*value) == Dtype::Float32;
        match self.makers[value.0] {
            _ if is_float(&value) => Some(value),
            None => Some(value),
            Some(maker) => self.call(maker, CAST)?.tensor(0).filter(is_float),
        }
    }

    fn forward(&self, index: usize) -> Option<Vec<Instruction>> {
        let call = self.call(index, "aten::convolution")?;
        let (x, weight) = (call.tensor(0)?, call.tensor(1)?);
        let window = self.window(call, x, weight, &call.args[3..])?;
        let bias = match call.tensor(2) {
            Some(bias) => Some(self.master(bias)?),
            None => None,
        };
        let op = Convolution::plain(x, self.master(weight)?, bias, window);
        let outputs = self.program.instructions[index].outputs.clone();
        Some(vec![Instruction { op: Op::Convolution(op), outputs }])
    }

    /// Marks the casts that the gradients no longer need.
    fn backward(&self, index: usize, absorbed: &mut [bool]) -> Option<Vec<Instruction>> {
        let call = self.call(index, "aten::convolution_backward")?;
        let (grad_y, x, weight) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
        let window = self.window(call, x, weight, &call.args[4..])?;
        let weight = self.master(weight)?;
        let place = |place| self.program.instructions[index].outputs.get(place).copied().flatten();
        let gradients = [self.in_fp32(place(1))?, self.in_fp32(place(2))?];
        gradients.iter().filter_map(|gradient| gradient.cast).for_each(|at| absorbed[at] = true);
        let outputs = gradients.map(|gradient| gradient.value).to_vec();
        let mut typed = Vec::new();
        if outputs.iter().any(Option::is_some) {
            let op =
                ConvolutionGradWeight { grad_y, x, load: None, weight, window, algorithm: None };
            typed.push(Instruction { op: Op::ConvolutionGradWeight(op), outputs });
        }
        if let Some(grad_x) = place(0) {
            let op = ConvolutionGradInput { grad_y, weight, window, add: None, algorithm: None };
            let outputs = vec![Some(grad_x)];
            typed.push(Instruction { op: Op::ConvolutionGradInput(op), outputs });
        }
        Some(typed)
    }

    /// A gradient in fp32: as it is, or as the cast that alone reads it; `None` if it is neither.
    fn in_fp32(&self, gradient: Option<ValueId>) -> Option<Gradient> {
        let Some(value) = gradient else { return Some(Gradient { value: None, cast: None }) };
        if self.dtype(value) == Dtype::Float32 {
            return Some(Gradient { value: Some(value), cast: None });
        }
        let at = self.program.instructions.iter().position(|instruction| {
            let mut reads = false;
            instruction.op.for_each_value(|read| reads |= read == value);
            reads
        })?;
        let to = self.program.instructions[at].outputs.first().copied().flatten()?;
        let fits = self.call(at, CAST).is_some() && self.dtype(to) == Dtype::Float32;
        let alone = self.uses[value.0] == 1;
        (fits && alone).then_some(Gradient { value: Some(to), cast: Some(at) })
    }

    /// `rest` of the arguments: stride, padding, dilation, transposed, output_padding, groups.
    fn window(&self, call: &Call, x: ValueId, weight: ValueId, rest: &[Arg]) -> Option<Window> {
        let dtype = self.dtype(x);
        let number = matches!(dtype, Dtype::Float32 | Dtype::Bfloat16);
        let fits = number && dtype == self.dtype(weight) && self.rank(x) == 4;
        let [stride, padding, dilation, transposed, _, groups, ..] = rest else { return None };
        let tensors = call.tensor(0).is_some() && transposed.bool() == Some(false);
        let Arg::Int(groups) = groups else { return None };
        let window = Window {
            stride: pair(stride)?,
            padding: pair(padding)?,
            dilation: pair(dilation)?,
            groups: usize::try_from(*groups).ok()?,
            num_blocks: 1,
        };
        (fits && tensors).then_some(window)
    }
}

/// One number for both dimensions, or one for each.
fn pair(arg: &Arg) -> Option<[usize; 2]> {
    let Arg::List(items) = arg else { return None };
    let number = |arg: &Arg| match arg {
        Arg::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    };
    match items.as_slice() {
        [both] => Some([number(both)?; 2]),
        [vertical, horizontal] => Some([number(vertical)?, number(horizontal)?]),
        _ => None,
    }
}

#[cfg(test)]
#[path = "type_convolutions_tests.rs"]
mod tests;
