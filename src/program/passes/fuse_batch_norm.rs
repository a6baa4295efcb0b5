//! Fuses batch norm with the residual add and the activation (ReLU, LeakyReLU or ReLU6) that follow
//! it, in the forward and in the backward.
//!
//! torch differentiates some activations from their input, which no longer exists after the fusion.
//! Their gradient follows from the output just as well, which is read instead.

use super::graph::{Graph, Replacements};
use super::normalization::Normalization;
use crate::activation::Activation;
use crate::program::{Arg, BatchNorm, BatchNormBackward, Instruction, Mask, Op, Program, ValueId};

pub fn fuse_batch_norm(program: &mut Program) {
    fuse(program, forward);
    fuse(program, backward);
}

/// A fused operation and the instructions that it replaces.
struct Fusion {
    instruction: Instruction,
    /// The index at which the fused instruction runs.
    at: usize,
    replaced: Vec<usize>,
    /// A value that no longer exists, and the one to be read instead.
    renamed: Option<(ValueId, ValueId)>,
}

fn fuse(program: &mut Program, find: fn(&Graph, usize) -> Option<Fusion>) {
    let graph = Graph::new(program);
    let mut is_taken = vec![false; program.instructions.len()];
    let mut fused: Vec<Option<Instruction>> = vec![None; program.instructions.len()];
    let mut replacements = Replacements::new(program);
    for index in (0..program.instructions.len()).rev() {
        let Some(fusion) = find(&graph, index) else { continue };
        // Two batch norms may share an add: the later one takes it, the other is fused alone.
        let fusion = match fusion.replaced.iter().any(|index| is_taken[*index]) {
            false => fusion,
            true => match alone(&graph, index) {
                Some(fusion) => fusion,
                None => continue,
            },
        };
        fusion.replaced.iter().for_each(|index| is_taken[*index] = true);
        if let Some((value, by)) = fusion.renamed {
            replacements.replace(value, by);
        }
        fused[fusion.at] = Some(fusion.instruction);
    }
    let old = std::mem::take(&mut program.instructions);
    for ((instruction, fused), is_taken) in old.into_iter().zip(fused).zip(is_taken) {
        match (fused, is_taken) {
            (Some(fused), _) => program.instructions.push(fused),
            (None, false) => program.instructions.push(instruction),
            (None, true) => {}
        }
    }
    replacements.apply_to_instructions(program);
}

fn alone(graph: &Graph, index: usize) -> Option<Fusion> {
    match graph.call(index, BACKWARD) {
        Some(_) => backward_alone(graph, index),
        None => forward_alone(graph, index),
    }
}

const BACKWARD: &str = "aten::native_batch_norm_backward";

fn forward(graph: &Graph, index: usize) -> Option<Fusion> {
    let (op, y) = graph.normalization(index)?;
    activated(graph, index, y, vec![], &op)
        .or_else(|| added(graph, index, y, &op))
        .or_else(|| forward_alone(graph, index))
}

/// The batch norm with the activation of `before`, its result or the sum with the residual.
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
    let fusion = moved(graph, index, last, replaced, op.activated(activation))?;
    Some(Fusion { renamed, ..fusion })
}

/// The batch norm with the residual that is added to its result `y`, and the activation if any.
fn added(graph: &Graph, index: usize, y: ValueId, op: &Normalization) -> Option<Fusion> {
    let next = graph.only_user(y)?;
    let (a, b) = graph.addition(next)?;
    let (residual, sum) = (if a == y { b } else { a }, graph.output(next, 0)?);
    if !graph.alike(y, residual) {
        return None;
    }
    let op = op.added(residual);
    activated(graph, index, sum, vec![next], &op)
        .or_else(|| moved(graph, index, next, vec![next], op))
}

fn forward_alone(graph: &Graph, index: usize) -> Option<Fusion> {
    let (op, _) = graph.normalization(index)?;
    moved(graph, index, index, vec![], op)
}

/// The batch norm at `index`, moved to the index `last`; it takes over the result of that.
fn moved(
    graph: &Graph,
    index: usize,
    last: usize,
    mut replaced: Vec<usize>,
    op: Normalization,
) -> Option<Fusion> {
    let mut outputs = graph.program.instructions[index].outputs.clone();
    let early = |value: &ValueId| graph.users(*value).iter().any(|user| *user < last);
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
    // The forward was fused with its activation, so this backward has to apply the mask as well.
    let masked = op.grad_y;
    let forward_y = graph.output(graph.definition(op.save_mean)?, 0)?;
    let mask = graph.definition(masked).and_then(|at| {
        let mask = graph.activation_backward(at)?;
        let same = mask.y == forward_y && mask.activation == activation;
        (same && graph.congruent(mask.grad, forward_y)).then_some((at, mask))
    });
    let Some((at, mask)) = mask else { return backward_alone(graph, index) };
    let mut outputs = graph.program.instructions[index].outputs.clone();
    outputs.push(Some(masked).filter(|masked| !graph.has_one_use(*masked)));
    // Without a residual the output need not be read, nor kept.
    let how = match forward.residual {
        Some(_) => Mask::Output(forward_y),
        None => Mask::Recomputed { bias: forward.bias },
    };
    let op = BatchNormBackward { grad_y: mask.grad, mask: how, activation, ..op };
    let instruction = Instruction { op: Op::BatchNormBackward(op), outputs };
    Some(Fusion { instruction, at, replaced: vec![at, index], renamed: None })
}

/// The backward with the activation's backward before it. The forward is in another program, which
/// returns what it saved.
fn backward_by_output(graph: &Graph, index: usize, op: BatchNormBackward) -> Option<Fusion> {
    let masked = op.grad_y;
    let at = graph.definition(masked)?;
    let mask = graph.activation_backward(at)?;
    if !graph.congruent(mask.grad, op.x) || !graph.alike(mask.y, op.x) {
        return None;
    }
    let mut outputs = graph.program.instructions[index].outputs.clone();
    outputs.push(Some(masked).filter(|masked| !graph.has_one_use(*masked)));
    let (how, activation) = (Mask::Output(mask.y), mask.activation);
    let op = BatchNormBackward { grad_y: mask.grad, mask: how, activation, ..op };
    let instruction = Instruction { op: Op::BatchNormBackward(op), outputs };
    Some(Fusion { instruction, at, replaced: vec![at, index], renamed: None })
}

fn backward_alone(graph: &Graph, index: usize) -> Option<Fusion> {
    let (op, _) = backward_op(graph, index)?;
    let outputs = graph.program.instructions[index].outputs.clone();
    let instruction = Instruction { op: Op::BatchNormBackward(op), outputs };
    Some(Fusion { instruction, at: index, replaced: vec![index], renamed: None })
}

/// The backward of a batch norm, and its fused forward if that is part of this program.
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
    let forward = match graph.definition(save_mean).map(|index| graph.op(index)) {
        Some(Op::BatchNorm(forward)) => Some(forward),
        Some(_) => return None,
        None => None,
    };
    let known = match forward {
        Some(forward) => forward.x == x,
        // The saved statistics are fp32, even where the trace says otherwise.
        None => graph.has_kernel(x) && graph.is_float32(weight),
    };
    (training && known && graph.congruent(grad_y, x)).then_some((op, forward))
}

#[cfg(test)]
mod tests;
