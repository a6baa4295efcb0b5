//! Batch norm, the residual add behind it and the ReLU behind that become one operation, in the
//! forward and in the backward.

use super::{count_uses, find_makers};
use crate::program::{
    Arg, BatchNorm, BatchNormBackward, Call, Dtype, Instruction, Op, Program, ValueId,
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
}

fn fuse(program: &mut Program, find: fn(&Graph, usize) -> Option<Fusion>) {
    let mut taken = vec![false; program.instructions.len()];
    let mut fused: Vec<Option<Instruction>> = vec![None; program.instructions.len()];
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
}

fn alone(graph: &Graph, index: usize) -> Option<Fusion> {
    match &graph.program.instructions[index].op {
        Op::Call(call) if call.is(FORWARD) => forward_alone(graph, index),
        Op::Call(call) if call.is(BACKWARD) => backward_alone(graph, index),
        _ => None,
    }
}

const FORWARD: &str = "aten::_native_batch_norm_legit_functional";
const BACKWARD: &str = "aten::native_batch_norm_backward";

/// A program with the questions that the patterns ask of it.
struct Graph<'a> {
    program: &'a Program,
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

    fn call(&self, index: usize, name: &str) -> Option<&'a Call> {
        match &self.program.instructions.get(index)?.op {
            Op::Call(call) if call.is(name) => Some(call),
            _ => None,
        }
    }

    fn output(&self, index: usize, place: usize) -> Option<ValueId> {
        self.program.instructions[index].outputs.get(place).copied().flatten()
    }

    /// The one instruction that reads the value, if nobody else does.
    fn only_reader(&self, value: ValueId) -> Option<usize> {
        match (self.uses[value.0], self.readers[value.0].as_slice()) {
            (1, [reader]) => Some(*reader),
            _ => None,
        }
    }

    fn maker(&self, value: ValueId) -> Option<usize> {
        self.makers[value.0]
    }

    fn dtype(&self, value: ValueId) -> Dtype {
        self.program.values[value.0].dtype
    }

    /// The kernel reads rows by channels in fp32 or bf16.
    fn has_kernel(&self, value: ValueId) -> bool {
        let info = &self.program.values[value.0];
        info.channels_last && matches!(info.dtype, Dtype::Float32 | Dtype::Bfloat16)
    }

    fn is_float32(&self, value: Option<ValueId>) -> bool {
        value.is_none_or(|value| self.dtype(value) == Dtype::Float32)
    }

    fn alike(&self, a: ValueId, b: ValueId) -> bool {
        self.program.values[a.0] == self.program.values[b.0]
    }

    fn add(&self, index: usize) -> Option<(ValueId, ValueId)> {
        let call = self.call(index, "aten::add").filter(|call| call.overload == "Tensor")?;
        let plain = call.args.get(2).and_then(Arg::float) == Some(1.0);
        Some((call.tensor(0)?, call.tensor(1)?)).filter(|_| plain)
    }
}

fn forward(graph: &Graph, index: usize) -> Option<Fusion> {
    let (op, y) = forward_op(graph, index)?;
    let Some(next) = graph.only_reader(y) else { return forward_alone(graph, index) };
    if graph.call(next, "aten::relu").is_some() {
        return behind(graph, index, next, vec![next], BatchNorm { relu: true, ..op });
    }
    let Some((a, b)) = graph.add(next) else { return forward_alone(graph, index) };
    let residual = if a == y { b } else { a };
    let (Some(sum), true) = (graph.output(next, 0), graph.alike(y, residual)) else {
        return forward_alone(graph, index);
    };
    let op = BatchNorm { residual: Some(residual), ..op };
    match graph.only_reader(sum).filter(|last| graph.call(*last, "aten::relu").is_some()) {
        Some(last) => behind(graph, index, last, vec![next, last], BatchNorm { relu: true, ..op }),
        None => behind(graph, index, next, vec![next], op),
    }
}

fn forward_alone(graph: &Graph, index: usize) -> Option<Fusion> {
    let (op, _) = forward_op(graph, index)?;
    behind(graph, index, index, vec![], op)
}

/// The batch norm at `index`, run at `last`, whose result it gives.
fn behind(
    graph: &Graph,
    index: usize,
    last: usize,
    mut replaced: Vec<usize>,
    op: BatchNorm,
) -> Option<Fusion> {
    let mut outputs = graph.program.instructions[index].outputs.clone();
    let early = |value: &ValueId| graph.readers[value.0].iter().any(|reader| *reader < last);
    if outputs.iter().skip(1).flatten().any(early) {
        return None;
    }
    outputs[0] = graph.output(last, 0);
    replaced.push(index);
    let instruction = Instruction { op: Op::BatchNorm(op), outputs };
    Some(Fusion { instruction, at: last, replaced })
}

fn forward_op(graph: &Graph, index: usize) -> Option<(BatchNorm, ValueId)> {
    let call = graph.call(index, FORWARD)?;
    let (x, y) = (call.tensor(0)?, graph.output(index, 0)?);
    let (weight, bias) = (call.tensor(1), call.tensor(2));
    let running = call.tensor(3).zip(call.tensor(4));
    let vectors = [weight, bias, running.map(|(mean, _)| mean), running.map(|(_, var)| var)];
    let training = call.args.get(5).and_then(Arg::bool)?;
    let fits = training
        && graph.has_kernel(x)
        && graph.alike(x, y)
        && vectors.into_iter().all(|vector| graph.is_float32(vector));
    let (momentum, eps) = (call.args.get(6)?.float()?, call.args.get(7)?.float()?);
    let op = BatchNorm { x, weight, bias, residual: None, running, momentum, eps, relu: false };
    fits.then_some((op, y))
}

fn backward(graph: &Graph, index: usize) -> Option<Fusion> {
    let (op, forward) = backward_op(graph, index)?;
    if !forward.relu {
        return backward_alone(graph, index);
    }
    // The forward's ReLU is gone into it, and so its mask has to come from the forward's output.
    let masked = op.grad_y;
    let mask = graph.maker(masked)?;
    let call = graph.call(mask, "aten::threshold_backward")?;
    let (grad_y, y) = (call.tensor(0)?, call.tensor(1)?);
    let forward_y = graph.output(graph.maker(op.save_mean)?, 0)?;
    if y != forward_y || call.args.get(2)?.float()? != 0.0 || !graph.alike(grad_y, y) {
        return backward_alone(graph, index);
    }
    let mut outputs = graph.program.instructions[index].outputs.clone();
    outputs.push(Some(masked).filter(|masked| graph.uses[masked.0] > 1));
    let op = BatchNormBackward { grad_y, y: Some(y), ..op };
    let instruction = Instruction { op: Op::BatchNormBackward(op), outputs };
    Some(Fusion { instruction, at: mask, replaced: vec![mask, index] })
}

fn backward_alone(graph: &Graph, index: usize) -> Option<Fusion> {
    let (op, _) = backward_op(graph, index)?;
    let outputs = graph.program.instructions[index].outputs.clone();
    let instruction = Instruction { op: Op::BatchNormBackward(op), outputs };
    Some(Fusion { instruction, at: index, replaced: vec![index] })
}

/// The backward of a batch norm whose forward was fused.
fn backward_op<'a>(graph: &Graph<'a>, index: usize) -> Option<(BatchNormBackward, &'a BatchNorm)> {
    let call = graph.call(index, BACKWARD)?;
    let (grad_y, x, weight) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2));
    let (save_mean, save_invstd) = (call.tensor(5)?, call.tensor(6)?);
    let training = call.args.get(7).and_then(Arg::bool)?;
    let Op::BatchNorm(forward) = &graph.program.instructions[graph.maker(save_mean)?].op else {
        return None;
    };
    let op = BatchNormBackward { grad_y, y: None, x, weight, save_mean, save_invstd };
    (training && forward.x == x && graph.alike(grad_y, x)).then_some((op, forward))
}

#[cfg(test)]
#[path = "fuse_batch_norm_tests.rs"]
mod tests;
