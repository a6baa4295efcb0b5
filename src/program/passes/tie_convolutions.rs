//! Convolutions whose blocks of channels share a weight know it, and read it once.

use super::{count_uses, find_makers, find_readers};
use crate::program::{Arg, Call, Op, Program, ValueId, Window};

/// Such a convolution is captured as one of groups, on the weight repeated for each block; the
/// gradient of the weight is summed over the blocks behind it. Here the weight is read as it is,
/// and the gradient given is the sum. The same goes for the bias.
pub fn tie_convolutions(program: &mut Program) {
    let graph = Graph {
        program,
        uses: count_uses(program),
        makers: find_makers(program),
        readers: find_readers(program),
    };
    let tied: Vec<Option<Tied>> =
        (0..program.instructions.len()).map(|index| graph.tied(index)).collect();
    let mut summed = vec![false; program.instructions.len()];
    for (index, tied) in tied.into_iter().enumerate() {
        let Some(Tied { op, sums }) = tied else { continue };
        program.instructions[index].op = op;
        for (place, sum) in sums {
            program.instructions[index].outputs[place] = Some(sum.value);
            // A weight's gradient is written as the weight lies.
            let info = &mut program.values[sum.value.0];
            info.channels_last = info.shape.len() == 4;
            sum.instructions.into_iter().for_each(|at| summed[at] = true);
        }
    }
    let mut summed = summed.into_iter();
    program.instructions.retain(|_| !summed.next().unwrap_or(false));
}

/// A convolution that reads what it was repeated from.
struct Tied {
    op: Op,
    /// Which of its results are to be sums.
    sums: Vec<(usize, Sum)>,
}

/// A gradient's sum over the blocks, and what computes it.
struct Sum {
    value: ValueId,
    instructions: [usize; 2],
}

struct Graph<'a> {
    program: &'a Program,
    uses: Vec<usize>,
    makers: Vec<Option<usize>>,
    readers: Vec<Vec<usize>>,
}

impl<'a> Graph<'a> {
    fn tied(&self, index: usize) -> Option<Tied> {
        let instruction = &self.program.instructions[index];
        let mut op = instruction.op.clone();
        let mut sums = Vec::new();
        match &mut op {
            Op::Convolution(op) => {
                let num_blocks = self.tie(&mut op.weight, &mut op.window)?;
                if let Some(bias) = &mut op.bias {
                    let (shared, repeats) = self.repeated(*bias)?;
                    *bias = Some(shared).filter(|_| repeats == num_blocks)?;
                }
            }
            Op::ConvolutionGradInput(op) => {
                self.tie(&mut op.weight, &mut op.window)?;
            }
            Op::ConvolutionGradWeight(op) => {
                let num_blocks = self.tie(&mut op.weight, &mut op.window)?;
                for (place, gradient) in instruction.outputs.iter().enumerate() {
                    if let Some(gradient) = gradient {
                        sums.push((place, self.sum(*gradient, num_blocks)?));
                    }
                }
            }
            _ => return None,
        }
        Some(Tied { op, sums })
    }

    /// Takes the weight that was repeated; returns how often.
    fn tie(&self, weight: &mut ValueId, window: &mut Window) -> Option<usize> {
        let (shared, num_blocks) = self.repeated(*weight)?;
        (*weight, window.num_blocks) = (shared, num_blocks);
        window.groups.is_multiple_of(num_blocks).then_some(num_blocks)
    }

    /// What `value` is, so many times along its first dimension.
    fn repeated(&self, value: ValueId) -> Option<(ValueId, usize)> {
        let call = self.call(self.makers[value.0]?, "aten::repeat")?;
        let Arg::List(repeats) = call.args.get(1)? else { return None };
        let (Arg::Int(first), rest) = repeats.split_first()? else { return None };
        let shared = call.tensor(0)?;
        let rank = self.program.values[shared.0].shape.len();
        let along_first = repeats.len() == rank && rest.iter().all(|n| *n == Arg::Int(1));
        Some((shared, usize::try_from(*first).ok()?)).filter(|(_, n)| along_first && *n > 0)
    }

    /// The sum of a gradient over its blocks, if that is all that it is for.
    fn sum(&self, gradient: ValueId, num_blocks: usize) -> Option<Sum> {
        let (split, by_block) = self.only_call(gradient, "aten::reshape")?;
        let (add, sum) = self.only_call(by_block, "aten::sum")?;
        let shape = |value: ValueId| &self.program.values[value.0].shape[..];
        let [blocks, of_block @ ..] = shape(by_block) else { return None };
        let [_, dims, keepdim, ..] = &self.call(add, "aten::sum")?.args[..] else { return None };
        let over_first = match dims {
            Arg::Some(dims) => **dims == Arg::List(vec![Arg::Int(0)]),
            dims => *dims == Arg::List(vec![Arg::Int(0)]),
        };
        let fits = *blocks == num_blocks as i64
            && of_block == shape(sum)
            && over_first
            && keepdim.bool() == Some(false)
            && self.program.values[sum.0].dtype == self.program.values[gradient.0].dtype;
        fits.then_some(Sum { value: sum, instructions: [split, add] })
    }

    fn call(&self, index: usize, name: &str) -> Option<&'a Call> {
        match &self.program.instructions[index].op {
            Op::Call(call) if call.is(name) => Some(call),
            _ => None,
        }
    }

    /// The one that reads the value, of this name, and its result.
    fn only_call(&self, value: ValueId, name: &str) -> Option<(usize, ValueId)> {
        let [reader] = self.readers[value.0][..] else { return None };
        let result = self.program.instructions[reader].outputs.first().copied().flatten()?;
        let alone = self.uses[value.0] == 1 && self.call(reader, name).is_some();
        alone.then_some((reader, result))
    }
}

#[cfg(test)]
#[path = "tie_convolutions_tests.rs"]
mod tests;
