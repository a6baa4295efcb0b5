//! Batch norm, the residual add behind it and the activation behind that (ReLU, LeakyReLU or
//! ReLU6) become one operation, in the forward and in the backward.
//!
//! Some activations are differentiated from their input, which is gone then. Their output tells the
//! same, and takes its place.

use super::normalization::Normalization;
use super::{count_uses, find_makers};
use crate::activation::Activation;
use crate::program::{
    Arg, BatchNorm, BatchNormBackward, Call, Dtype, Instruction, Mask, Op, Program, ValueId,
};

pub fn fuse_batch_norm(program: &mut Program) {
    fuse(program, forward);
    fuse(program, backward);
}

/// One fused operation, and what it stands for.
struct Fusion {
    instruction: Instruction,
    /// The place that the fused instruction takes.
    at: usize,
    replaced: Vec<usize>,
    /// A value that nobody makes any more, and the one to be read instead.
    renamed: Option<(ValueId, ValueId)>,
}

fn fuse(program: &mut Program, find: fn(&Graph, usize) -> Option<Fusion>) {
    let mut taken = vec![false; program.instructions.len()];
    let mut fused: Vec<Option<Instruction>> = vec![None; program.instructions.len()];
    let mut name: Vec<ValueId> = (0..program.values.len()).map(ValueId).collect();
    let graph = Graph::new(program);
    for index in (0..program.instructions.len()).rev() {
        let Some(fusion) = find(&graph, index) else { continue };
        // Two batch norms may meet in one add: the later one has it, the other stays alone.
        let fusion = match fusion.replaced.iter().any(|place| taken[*place]) {
            false => fusion,
            true => match alone(&graph, index) {
                Some(fusion) => fusion,
                None => continue,
            },
        };
        fusion.replaced.iter().for_each(|place| taken[*place] = true);
        if let Some((gone, instead)) = fusion.renamed {
            name[gone.0] = instead;
        }
        fused[fusion.at] = Some(fusion.instruction);
    }
    let old = std::mem::take(&mut program.instructions);
    for ((instruction, fused), taken) in old.into_iter().zip(fused).zip(taken) {
        match (fused, taken) {
            (Some(fused), _) => program.instructions.push(fused),
            (None, false) => program.instructions.push(instruction),
            (None, true) => {}
        }
    }
    for instruction in &mut program.instructions {
        instruction.op.for_each_value_mut(|value| *value = name[value.0]);
    }
}

fn alone(graph: &Graph, index: usize) -> Option<Fusion> {
    match &graph.program.instructions[index].op {
        Op::Call(call) if call.is(BACKWARD) => backward_alone(graph, index),
        _ => forward_alone(graph, index),
    }
}

const BACKWARD: &str = "aten::native_batch_norm_backward";

/// A program with the questions that the patterns ask of it.
pub(super) struct Graph<'a> {
    pub(super) program: &'a Program,
    uses: Vec<usize>,
    makers: Vec<Option<usize>>,
    readers: Vec<Vec<usize>>,
}

impl<'a> Graph<'a> {
    fn new(program: &'a Program) -> Graph<'a> {
        let mut readers = vec![Vec::new(); program.values.len()];
        for (index, instruction) in program.instructions.iter().enumerate() {
            instruction.op.for_each_value(|value| readers[value.0].push(index));
        }
        Graph { program, uses: count_uses(program), makers: find_makers(program), readers }
    }

    pub(super) fn call(&self, index: usize, name: &str) -> Option<&'a Call> {
        match &self.program.instructions.get(index)?.op {
            Op::Call(call) if call.is(name) => Some(call),
            _ => None,
        }
    }

    pub(super) fn output(&self, index: usize, place: usize) -> Option<ValueId> {
        self.program.instructions[index].outputs.get(place).copied().flatten()
    }

    /// The one instruction that reads the value, if nobody else does.
    fn only_reader(&self, value: ValueId) -> Option<usize> {
        match (self.uses[value.0], self.readers[value.0].as_slice()) {
            (1, [reader]) => Some(*reader),
            _ => None,
        }
    }

    /// Once for each time that an instruction reads the value.
    pub(super) fn readers(&self, value: ValueId) -> &[usize] {
        &self.readers[value.0]
    }

    pub(super) fn is_output(&self, value: ValueId) -> bool {
        self.uses[value.0] > self.readers[value.0].len()
    }

    fn maker(&self, value: ValueId) -> Option<usize> {
        self.makers[value.0]
    }

    fn dtype(&self, value: ValueId) -> Dtype {
        self.program.values[value.0].dtype
    }

    /// The kernel reads rows by channels in fp32 or bf16.
    pub(super) fn has_kernel(&self, value: ValueId) -> bool {
        let info = &self.program.values[value.0];
        info.channels_last && matches!(info.dtype, Dtype::Float32 | Dtype::Bfloat16)
    }

    pub(super) fn is_float32(&self, value: Option<ValueId>) -> bool {
        value.is_none_or(|value| self.dtype(value) == Dtype::Float32)
    }

    pub(super) fn alike(&self, a: ValueId, b: ValueId) -> bool {
        self.program.values[a.0] == self.program.values[b.0]
    }

    /// The same numbers, whatever their order in memory.
    fn congruent(&self, a: ValueId, b: ValueId) -> bool {
        let (a, b) = (&self.program.values[a.0], &self.program.values[b.0]);
        a.shape == b.shape && a.dtype == b.dtype
    }

    fn add(&self, index: usize) -> Option<(ValueId, ValueId)> {
        let call = self.call(index, "aten::add").filter(|call| call.overload == "Tensor")?;
        let plain = call.args.get(2).and_then(Arg::float) == Some(1.0);
        Some((call.tensor(0)?, call.tensor(1)?)).filter(|_| plain)
    }
}

fn forward(graph: &Graph, index: usize) -> Option<Fusion> {
    let (op, y) = graph.normalization(index)?;
    activated(graph, index, y, vec![], &op)
        .or_else(|| added(graph, index, y, &op))
        .or_else(|| forward_alone(graph, index))
}

/// The batch norm and the activation behind its result, `before`.
fn activated(
    graph: &Graph,
    index: usize,
    before: ValueId,
    mut replaced: Vec<usize>,
    op: &Normalization,
) -> Option<Fusion> {
    let (last, activation) = graph.activation_of(before)?;
    let renamed = Some((before, graph.output(last, 0)?));
    replaced.push(last);
    let fusion = behind(graph, index, last, replaced, op.activated(activation))?;
    Some(Fusion { renamed, ..fusion })
}

/// The batch norm, the residual that is added to its result `y`, and the activation if there is one.
fn added(graph: &Graph, index: usize, y: ValueId, op: &Normalization) -> Option<Fusion> {
    let next = graph.only_reader(y)?;
    let (a, b) = graph.add(next)?;
    let (residual, sum) = (if a == y { b } else { a }, graph.output(next, 0)?);
    if !graph.alike(y, residual) {
        return None;
    }
    let op = op.added(residual);
    activated(graph, index, sum, vec![next], &op)
        .or_else(|| behind(graph, index, next, vec![next], op))
}

fn forward_alone(graph: &Graph, index: usize) -> Option<Fusion> {
    let (op, _) = graph.normalization(index)?;
    behind(graph, index, index, vec![], op)
}

/// The batch norm at `index`, run at `last`, whose result it gives.
fn behind(
    graph: &Graph,
    index: usize,
    last: usize,
    mut replaced: Vec<usize>,
    op: Normalization,
) -> Option<Fusion> {
    let mut outputs = graph.program.instructions[index].outputs.clone();
    let early = |value: &ValueId| graph.readers[value.0].iter().any(|reader| *reader < last);
    if outputs.iter().skip(1).flatten().any(early) {
        return None;
    }
    outputs[0] = graph.output(last, 0);
    replaced.push(index);
    let instruction = Instruction { op: op.into(), outputs };
    Some(Fusion { instruction, at: last, replaced, renamed: None })
}

fn backward(graph: &Graph, index: usize) -> Option<Fusion> {
    let (op, forward) = backward_op(graph, index)?;
    let Some(forward) = forward else {
        return backward_by_output(graph, index, op).or_else(|| backward_alone(graph, index));
    };
    let activation = forward.activation;
    if activation == Activation::IDENTITY {
        return backward_alone(graph, index);
    }
    // The forward's activation is gone into it, and so its mask has to come from there too.
    let masked = op.grad_y;
    let forward_y = graph.output(graph.maker(op.save_mean)?, 0)?;
    let mask = graph.maker(masked).and_then(|place| {
        let mask = graph.activation_backward(place)?;
        let same = mask.y == forward_y && mask.activation == activation;
        (same && graph.congruent(mask.grad, forward_y)).then_some((place, mask))
    });
    let Some((place, mask)) = mask else { return backward_alone(graph, index) };
    let mut outputs = graph.program.instructions[index].outputs.clone();
    outputs.push(Some(masked).filter(|masked| graph.uses[masked.0] > 1));
    // Without a residual there is no need to read, or keep, the output.
    let how = match forward.residual {
        Some(_) => Mask::Output(forward_y),
        None => Mask::Recomputed { bias: forward.bias },
    };
    let op = BatchNormBackward { grad_y: mask.grad, mask: how, activation, ..op };
    let instruction = Instruction { op: Op::BatchNormBackward(op), outputs };
    Some(Fusion { instruction, at: place, replaced: vec![place, index], renamed: None })
}

/// With the activation's backward in front of it. The forward is in another program, which gives
/// what it has saved.
fn backward_by_output(graph: &Graph, index: usize, op: BatchNormBackward) -> Option<Fusion> {
    let masked = op.grad_y;
    let place = graph.maker(masked)?;
    let mask = graph.activation_backward(place)?;
    if !graph.congruent(mask.grad, op.x) || !graph.alike(mask.y, op.x) {
        return None;
    }
    let mut outputs = graph.program.instructions[index].outputs.clone();
    outputs.push(Some(masked).filter(|masked| graph.uses[masked.0] > 1));
    let (how, activation) = (Mask::Output(mask.y), mask.activation);
    let op = BatchNormBackward { grad_y: mask.grad, mask: how, activation, ..op };
    let instruction = Instruction { op: Op::BatchNormBackward(op), outputs };
    Some(Fusion { instruction, at: place, replaced: vec![place, index], renamed: None })
}

fn backward_alone(graph: &Graph, index: usize) -> Option<Fusion> {
    let (op, _) = backward_op(graph, index)?;
    let outputs = graph.program.instructions[index].outputs.clone();
    let instruction = Instruction { op: Op::BatchNormBackward(op), outputs };
    Some(Fusion { instruction, at: index, replaced: vec![index], renamed: None })
}

/// The backward of a batch norm, and its forward: fused here, or not part of this program.
fn backward_op<'a>(
    graph: &Graph<'a>,
    index: usize,
) -> Option<(BatchNormBackward, Option<&'a BatchNorm>)> {
    let call = graph.call(index, BACKWARD)?;
    let (grad_y, x, weight) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2));
    let (save_mean, save_invstd) = (call.tensor(5)?, call.tensor(6)?);
    let training = call.args.get(7).and_then(Arg::bool)?;
    let (mask, activation) = (Mask::None, Activation::IDENTITY);
    let op = BatchNormBackward { grad_y, activation, mask, x, weight, save_mean, save_invstd };
    let forward = match graph.maker(save_mean).map(|maker| &graph.program.instructions[maker].op) {
        Some(Op::BatchNorm(forward)) => Some(forward),
        Some(_) => return None,
        None => None,
    };
    let known = match forward {
        Some(forward) => forward.x == x,
        // What it saved is fp32, whatever the trace says of it.
        None => graph.has_kernel(x) && graph.is_float32(weight),
    };
    (training && known && graph.congruent(grad_y, x)).then_some((op, forward))
}

#[cfg(test)]
#[path = "fuse_batch_norm_tests.rs"]
mod tests;
