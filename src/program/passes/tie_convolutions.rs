//! Where blocks of channels share a weight, the convolution reads that weight once.

use super::graph::{remove_marked, Graph};
use crate::program::{Arg, Op, Program, ValueId, Window};

/// Such a convolution is captured as a grouped convolution on the repeated weight, and the gradient
/// of the weight is summed over the blocks afterwards. Here the convolution gets to read the weight
/// without the repetition, and to return the sum as its gradient. The same is done to the bias.
pub fn tie_convolutions(program: &mut Program) {
    let graph = Graph::new(program);
    let tied: Vec<Option<Tied>> =
        (0..program.instructions.len()).map(|index| tied(&graph, index)).collect();
    let mut is_summed = vec![false; program.instructions.len()];
    for (index, tied) in tied.into_iter().enumerate() {
        let Some(Tied { op, sums }) = tied else { continue };
        program.instructions[index].op = op;
        for (place, sum) in sums {
            program.instructions[index].outputs[place] = Some(sum.value);
            // The gradient is written in the layout of the weight.
            let info = &mut program.values[sum.value.0];
            info.channels_last = info.shape.len() == 4;
            sum.instructions.into_iter().for_each(|at| is_summed[at] = true);
        }
    }
    remove_marked(program, &is_summed);
}

/// A convolution that reads the shared weight.
struct Tied {
    op: Op,
    /// The places of the results that are to be sums over the blocks.
    sums: Vec<(usize, Sum)>,
}

/// The sum of a gradient over the blocks, and the instructions that compute it.
struct Sum {
    value: ValueId,
    instructions: [usize; 2],
}

fn tied(graph: &Graph, index: usize) -> Option<Tied> {
    let instruction = &graph.program.instructions[index];
    let mut op = instruction.op.clone();
    let mut sums = Vec::new();
    match &mut op {
        Op::Convolution(op) => {
            let num_blocks = tie(graph, &mut op.weight, &mut op.window)?;
            if let Some(bias) = &mut op.bias {
                let (shared, repeats) = repeated(graph, *bias)?;
                *bias = Some(shared).filter(|_| repeats == num_blocks)?;
            }
        }
        Op::ConvolutionGradInput(op) => {
            tie(graph, &mut op.weight, &mut op.window)?;
        }
        Op::ConvolutionGradWeight(op) => {
            let num_blocks = tie(graph, &mut op.weight, &mut op.window)?;
            for (place, gradient) in instruction.outputs.iter().enumerate() {
                if let Some(gradient) = gradient {
                    sums.push((place, sum(graph, *gradient, num_blocks)?));
                }
            }
        }
        _ => return None,
    }
    Some(Tied { op, sums })
}

/// Replaces a repeated weight by the shared one; returns the number of repetitions.
fn tie(graph: &Graph, weight: &mut ValueId, window: &mut Window) -> Option<usize> {
    let (shared, num_blocks) = repeated(graph, *weight)?;
    (*weight, window.num_blocks) = (shared, num_blocks);
    window.groups.is_multiple_of(num_blocks).then_some(num_blocks)
}

/// The tensor that `value` repeats along its first dimension, and how many times.
fn repeated(graph: &Graph, value: ValueId) -> Option<(ValueId, usize)> {
    let call = graph.call(graph.definition(value)?, "aten::repeat")?;
    let Arg::List(repeats) = call.args.get(1)? else { return None };
    let (Arg::Int(first), rest) = repeats.split_first()? else { return None };
    let shared = call.tensor(0)?;
    let rank = graph.info(shared).shape.len();
    let along_first = repeats.len() == rank && rest.iter().all(|n| *n == Arg::Int(1));
    Some((shared, usize::try_from(*first).ok()?)).filter(|(_, n)| along_first && *n > 0)
}

/// The sum of a gradient over its blocks, if the gradient has no other use.
fn sum(graph: &Graph, gradient: ValueId, num_blocks: usize) -> Option<Sum> {
    let (split, by_block) = only_call(graph, gradient, "aten::reshape")?;
    let (add, sum) = only_call(graph, by_block, "aten::sum")?;
    let shape = |value: ValueId| &graph.info(value).shape[..];
    let [blocks, of_block @ ..] = shape(by_block) else { return None };
    let [_, dims, keepdim, ..] = &graph.call(add, "aten::sum")?.args[..] else { return None };
    let over_first = match dims {
        Arg::Some(dims) => **dims == Arg::List(vec![Arg::Int(0)]),
        dims => *dims == Arg::List(vec![Arg::Int(0)]),
    };
    let fits = *blocks == num_blocks as i64
        && of_block == shape(sum)
        && over_first
        && keepdim.bool() == Some(false)
        && graph.dtype(sum) == graph.dtype(gradient);
    fits.then_some(Sum { value: sum, instructions: [split, add] })
}

/// The only user of the value, if it is a call of torch's operation `name`, and its result.
fn only_call(graph: &Graph, value: ValueId, name: &str) -> Option<(usize, ValueId)> {
    let user = graph.only_user(value)?;
    graph.call(user, name)?;
    Some((user, graph.output(user, 0)?))
}

#[cfg(test)]
mod tests;
