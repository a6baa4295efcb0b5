//! Turns the convolutions that our kernels may compute into typed operations: one for each product,
//! on the fp32 master of the weight.

use super::graph::Graph;
use crate::program::{
    Arg, Call, Convolution, ConvolutionGradInput, ConvolutionGradWeight, Dtype, Instruction, Op,
    Program, ValueId, Window,
};

/// Under autocast the graph casts a weight to bf16, convolves, and casts the weight's gradient
/// back. Our kernels pack the master themselves and sum gradients in fp32, so both casts are left
/// out. Other convolutions remain calls of torch.
pub fn type_convolutions(program: &mut Program) {
    let graph = Graph::new(program);
    let mut is_absorbed = vec![false; program.instructions.len()];
    let mut rewritten = Vec::new();
    for index in 0..program.instructions.len() {
        match forward(&graph, index).or_else(|| backward(&graph, index, &mut is_absorbed)) {
            Some(typed) => rewritten.push(typed),
            None => rewritten.push(vec![program.instructions[index].clone()]),
        }
    }
    let kept = rewritten.into_iter().zip(is_absorbed).filter(|(_, is_absorbed)| !is_absorbed);
    program.instructions = kept.flat_map(|(typed, _)| typed).collect();
}

const CAST: &str = "aten::_to_copy";

/// The value of a gradient, and the index of the cast that made it.
#[derive(Clone, Copy)]
struct Gradient {
    value: Option<ValueId>,
    cast: Option<usize>,
}

/// The fp32 tensor that `value` is or was cast from; an input of the program is taken as it is.
fn master(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let is_float = |value: &ValueId| graph.dtype(*value) == Dtype::Float32;
    match graph.definition(value) {
        _ if is_float(&value) => Some(value),
        None => Some(value),
        Some(index) => graph.call(index, CAST)?.tensor(0).filter(is_float),
    }
}

fn forward(graph: &Graph, index: usize) -> Option<Vec<Instruction>> {
    let call = graph.call(index, "aten::convolution")?;
    let (x, weight) = (call.tensor(0)?, call.tensor(1)?);
    let window = window(graph, call, x, weight, &call.args[3..])?;
    let bias = match call.tensor(2) {
        Some(bias) => Some(master(graph, bias)?),
        None => None,
    };
    let op = Convolution::plain(x, master(graph, weight)?, bias, window);
    let outputs = graph.program.instructions[index].outputs.clone();
    Some(vec![Instruction { op: Op::Convolution(op), outputs }])
}

/// Marks the casts that the gradients no longer need.
fn backward(graph: &Graph, index: usize, is_absorbed: &mut [bool]) -> Option<Vec<Instruction>> {
    let call = graph.call(index, "aten::convolution_backward")?;
    let (grad_y, x, weight) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let window = window(graph, call, x, weight, &call.args[4..])?;
    let weight = master(graph, weight)?;
    let [grad_x, grad_weight, grad_bias] = [0, 1, 2].map(|place| graph.output(index, place));
    let gradients = [in_fp32(graph, grad_weight)?, in_fp32(graph, grad_bias)?];
    gradients.iter().filter_map(|gradient| gradient.cast).for_each(|at| is_absorbed[at] = true);
    let outputs = gradients.map(|gradient| gradient.value).to_vec();
    let mut typed = Vec::new();
    let algorithm = None;
    if outputs.iter().any(Option::is_some) {
        let op = ConvolutionGradWeight { grad_y, x, load: None, weight, window, algorithm };
        typed.push(Instruction { op: Op::ConvolutionGradWeight(op), outputs });
    }
    if let Some(grad_x) = grad_x {
        let op = ConvolutionGradInput { grad_y, weight, window, add: None, algorithm };
        let outputs = vec![Some(grad_x)];
        typed.push(Instruction { op: Op::ConvolutionGradInput(op), outputs });
    }
    Some(typed)
}

/// A gradient in fp32: as it is, or after the cast that is its only use; `None` if it is neither.
fn in_fp32(graph: &Graph, gradient: Option<ValueId>) -> Option<Gradient> {
    let Some(value) = gradient else { return Some(Gradient { value: None, cast: None }) };
    if graph.dtype(value) == Dtype::Float32 {
        return Some(Gradient { value: Some(value), cast: None });
    }
    let cast = graph.only_user(value)?;
    graph.call(cast, CAST)?;
    let to = graph.output(cast, 0).filter(|to| graph.dtype(*to) == Dtype::Float32)?;
    Some(Gradient { value: Some(to), cast: Some(cast) })
}

/// `rest` of the arguments: stride, padding, dilation, transposed, output_padding, groups.
fn window(graph: &Graph, call: &Call, x: ValueId, weight: ValueId, rest: &[Arg]) -> Option<Window> {
    let dtype = graph.dtype(x);
    let has_kernel = matches!(dtype, Dtype::Float32 | Dtype::Bfloat16)
        && dtype == graph.dtype(weight)
        && graph.info(x).shape.len() == 4;
    let [stride, padding, dilation, transposed, _, Arg::Int(groups), ..] = rest else {
        return None;
    };
    let is_plain = call.tensor(0).is_some() && transposed.bool() == Some(false);
    let window = Window {
        stride: pair(stride)?,
        padding: pair(padding)?,
        dilation: pair(dilation)?,
        groups: usize::try_from(*groups).ok()?,
        num_blocks: 1,
    };
    (has_kernel && is_plain).then_some(window)
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
mod tests;
