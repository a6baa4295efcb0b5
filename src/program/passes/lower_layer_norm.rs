//! Finds the layer norms of a graph, and moves into them the casts and adds around them.

use super::graph::{remove_marked, Graph, Replacements};
use crate::program::{Arg, Call, Dtype, LayerNorm, LayerNormBackward, Op, Program, ValueId};

const FORWARD: &str = "aten::native_layer_norm";
const BACKWARD: &str = "aten::native_layer_norm_backward";

pub fn lower_layer_norm(program: &mut Program) {
    let graph = Graph::new(program);
    let find = |index| forward(&graph, index).or_else(|| backward(&graph, index));
    let found: Vec<Option<Op>> = (0..program.instructions.len()).map(find).collect();
    for (instruction, op) in program.instructions.iter_mut().zip(found) {
        if let Some(op) = op {
            instruction.outputs.resize(if matches!(op, Op::LayerNorm(_)) { 3 } else { 4 }, None);
            instruction.op = op;
        }
    }
    for fuse in [read_before_cast, return_after_cast, fuse_add, return_copy] {
        rewrite(program, fuse);
    }
}

fn forward(graph: &Graph, index: usize) -> Option<Op> {
    let call = graph.call(index, FORWARD)?;
    let (x, weight, bias) = (call.tensor(0)?, call.tensor(2), call.tensor(3));
    let eps = call.args.get(4)?.float()?;
    let y = graph.output(index, 0)?;
    let statistics = [graph.output(index, 1), graph.output(index, 2)];
    let fits = graph.congruent(x, y)
        && is_number(graph.dtype(x))
        && [weight, bias].into_iter().chain(statistics).all(|value| graph.is_float32(value));
    let dims = dims(graph, call, x, 1)?;
    fits.then_some(Op::LayerNorm(LayerNorm { x, weight, bias, dims, eps }))
}

fn backward(graph: &Graph, index: usize) -> Option<Op> {
    let call = graph.call(index, BACKWARD)?;
    let (grad_y, x, weight) = (call.tensor(0)?, call.tensor(1)?, call.tensor(5));
    let (mean, rstd) = (call.tensor(3)?, call.tensor(4)?);
    let vectors = [Some(mean), Some(rstd), weight, call.tensor(6)];
    let sums = [graph.output(index, 1), graph.output(index, 2)];
    let fits = graph.congruent(grad_y, x)
        && is_number(graph.dtype(x))
        && graph.output(index, 0).is_some()
        && vectors.into_iter().chain(sums).all(|value| graph.is_float32(value));
    let dims = dims(graph, call, x, 2)?;
    let op = LayerNormBackward { grad_y, x, mean, rstd, weight, add: None, dims };
    fits.then_some(Op::LayerNormBackward(op))
}

fn is_number(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::Float32 | Dtype::Bfloat16)
}

/// The number of last dimensions that are normalized, whose sizes are an argument of the call;
/// `None` if they have no elements.
fn dims(graph: &Graph, call: &Call, x: ValueId, sizes: usize) -> Option<usize> {
    let Arg::List(sizes) = call.args.get(sizes)? else { return None };
    let shape = &graph.info(x).shape;
    let first = shape.len().checked_sub(sizes.len())?;
    shape[first..].iter().all(|size| *size > 0).then_some(sizes.len())
}

/// A new operation for an instruction, the results that it takes over, and the instructions that
/// computed them before.
struct Fusion {
    op: Op,
    outputs: Vec<(usize, ValueId)>,
    removed: Vec<usize>,
    /// Values that no longer exist, and those to be read instead.
    renamed: Vec<(ValueId, ValueId)>,
}

fn rewrite(program: &mut Program, find: fn(&Graph, usize) -> Option<Fusion>) {
    let graph = Graph::new(program);
    let found: Vec<Option<Fusion>> =
        (0..program.instructions.len()).map(|index| find(&graph, index)).collect();
    let mut marked = vec![false; program.instructions.len()];
    let mut replacements = Replacements::new(program);
    for (index, fusion) in found.into_iter().enumerate() {
        let Some(Fusion { op, outputs, removed, renamed }) = fusion else { continue };
        if removed.iter().any(|index| marked[*index]) {
            continue;
        }
        removed.into_iter().for_each(|index| marked[index] = true);
        renamed.into_iter().for_each(|(value, by)| replacements.replace(value, by));
        program.instructions[index].op = op;
        for (place, value) in outputs {
            program.instructions[index].outputs[place] = Some(value);
        }
    }
    remove_marked(program, &marked);
    replacements.apply_to_instructions(program);
}

/// Reads the gradient of y in bf16 if it is cast from it.
fn read_before_cast(graph: &Graph, index: usize) -> Option<Fusion> {
    let Op::LayerNormBackward(op) = graph.op(index) else { return None };
    let cast = graph.call(graph.definition(op.grad_y)?, "aten::_to_copy")?;
    let grad_y = cast.tensor(0).filter(|value| graph.dtype(*value) == Dtype::Bfloat16)?;
    let fits = graph.dtype(op.x) == Dtype::Float32;
    let op = Op::LayerNormBackward(LayerNormBackward { grad_y, ..op.clone() });
    let fusion = Fusion { op, outputs: vec![], removed: vec![], renamed: vec![] };
    fits.then_some(fusion)
}

/// Returns y in bf16 if nothing but casts to it read y.
fn return_after_cast(graph: &Graph, index: usize) -> Option<Fusion> {
    let Op::LayerNorm(op) = graph.op(index) else { return None };
    let y = graph.output(index, 0).filter(|y| graph.dtype(*y) == Dtype::Float32)?;
    let fusion = casts(graph, y, 0, Op::LayerNorm(op.clone()))?;
    let all = fusion.removed.len() == graph.users(y).len() && !graph.is_output(y);
    all.then_some(fusion)
}

/// Returns a copy of grad_x in bf16 if it is cast to it.
fn return_copy(graph: &Graph, index: usize) -> Option<Fusion> {
    let Op::LayerNormBackward(op) = graph.op(index) else { return None };
    let grad_x = graph.output(index, 0).filter(|value| graph.dtype(*value) == Dtype::Float32)?;
    casts(graph, grad_x, 3, Op::LayerNormBackward(op.clone()))
}

/// The operation with the first cast of a value to bf16 as its result `place`, which is read
/// instead of the results of the other casts.
fn casts(graph: &Graph, value: ValueId, place: usize, op: Op) -> Option<Fusion> {
    let users = graph.users(value).iter();
    let found = users.filter_map(|user| Some((*user, graph.cast_to_bf16(*user)?.1)));
    let found = found.filter(|(_, result)| {
        !graph.is_output(*result) && graph.info(*result).shape == graph.info(value).shape
    });
    let casts: Vec<(usize, ValueId)> = found.collect();
    let first = casts.first()?.1;
    let removed = casts.iter().map(|(user, _)| *user).collect();
    let renamed = casts.iter().skip(1).map(|(_, result)| (*result, first)).collect();
    Some(Fusion { op, outputs: vec![(place, first)], removed, renamed })
}

/// Adds the other part of the gradient of x, if it is computed before.
fn fuse_add(graph: &Graph, index: usize) -> Option<Fusion> {
    let Op::LayerNormBackward(op) = graph.op(index) else { return None };
    let grad_x = graph.output(index, 0)?;
    let next = graph.only_user(grad_x)?;
    let (a, b) = graph.addition(next)?;
    let (other, sum) = (if a == grad_x { b } else { a }, graph.output(next, 0)?);
    let is_early = graph.definition(other).is_none_or(|definition| definition < index);
    let fits = graph.congruent(other, grad_x) && graph.congruent(sum, grad_x);
    let op = Op::LayerNormBackward(LayerNormBackward { add: Some(other), ..op.clone() });
    let fusion = Fusion { op, outputs: vec![(0, sum)], removed: vec![next], renamed: vec![] };
    (is_early && fits && other != grad_x).then_some(fusion)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::passes::remove_dead_code;
    use crate::program::testing::{add, call, names, program, reads, tensors};
    use crate::program::Instruction;

    fn sizes() -> Vec<Arg> {
        vec![Arg::List(vec![Arg::Int(4)])]
    }

    fn norm(x: usize, y: usize) -> Instruction {
        let args = [tensors(&[x]), sizes(), tensors(&[1, 2]), vec![Arg::Float(1e-5)]].concat();
        call(FORWARD, args, &[y, y + 1, y + 2])
    }

    /// The backward of the norm of `x` with the result `y`.
    fn norm_backward(grad_y: usize, x: usize, y: usize, to: usize) -> Instruction {
        let first = tensors(&[grad_y, x]);
        let args = [first, sizes(), tensors(&[y + 1, y + 2, 1, 2])].concat();
        call(BACKWARD, args, &[to, to + 1, to + 2])
    }

    fn cast(from: usize, to: usize) -> Instruction {
        call("aten::_to_copy", tensors(&[from]), &[to])
    }

    fn lowered(instructions: Vec<Instruction>, loss: usize, narrow: &[usize]) -> Program {
        let mut program = program(instructions, loss);
        narrow.iter().for_each(|value| program.values[*value].dtype = Dtype::Bfloat16);
        lower_layer_norm(&mut program);
        remove_dead_code(&mut program);
        program
    }

    #[test]
    fn norms_are_typed() {
        let relu = call("aten::relu", tensors(&[6]), &[9]);
        let program = lowered(vec![norm(3, 4), norm_backward(4, 3, 4, 6), relu], 9, &[]);
        assert_eq!(names(&program), ["layer_norm", "layer_norm_backward", "aten::relu"]);
        let Op::LayerNorm(op) = &program.instructions[0].op else { panic!("a norm") };
        assert_eq!(op.dims, 1);
    }

    #[test]
    fn norms_of_other_types_stay() {
        let list = vec![norm(3, 4), norm_backward(4, 3, 4, 9)];
        let mut exact = program(list, 9);
        exact.values.iter_mut().for_each(|value| value.dtype = Dtype::Float64);
        lower_layer_norm(&mut exact);
        assert_eq!(names(&exact), [FORWARD, BACKWARD]);
    }

    #[test]
    fn a_result_that_is_only_cast_is_returned_in_bf16() {
        let fused =
            lowered(vec![norm(3, 4), cast(4, 8), cast(4, 9), add(8, 9, 10, 1)], 10, &[8, 9]);
        assert_eq!(names(&fused), ["layer_norm", "aten::add.Tensor"]);
        assert_eq!(reads(&fused, 1), [8, 8]);
        let read_twice = vec![norm(3, 4), cast(4, 8), add(4, 8, 10, 1)];
        let kept = lowered(read_twice, 10, &[8]);
        assert_eq!(names(&kept)[1], "aten::_to_copy");
    }

    #[test]
    fn casts_and_the_add_around_a_backward_are_fused() {
        // The gradient 8 comes from a cast, 9 is the other part, and their sum is cast.
        let list = vec![
            norm(3, 4),
            cast(7, 8),
            norm_backward(8, 3, 4, 10),
            add(9, 10, 13, 1),
            cast(13, 14),
            call("aten::relu", tensors(&[14]), &[15]),
            add(13, 15, 16, 1),
        ];
        let fused = lowered(list, 16, &[7, 14, 15]);
        let expected = ["layer_norm", "layer_norm_backward_add", "aten::relu", "aten::add.Tensor"];
        assert_eq!(names(&fused), expected);
        assert_eq!(reads(&fused, 1)[..2], [7, 3]);
        let outputs = &fused.instructions[1].outputs;
        assert_eq!([outputs[0], outputs[3]], [Some(ValueId(13)), Some(ValueId(14))]);
    }

    #[test]
    fn an_add_of_a_later_value_stays() {
        let list = vec![
            norm(3, 4),
            norm_backward(3, 3, 4, 10),
            call("aten::relu", tensors(&[3]), &[9]),
            add(9, 10, 13, 1),
        ];
        let program = lowered(list, 13, &[]);
        assert_eq!(names(&program)[1], "layer_norm_backward");
    }

    #[test]
    fn a_gradient_that_is_returned_itself_is_not_replaced_by_a_sum() {
        let list = vec![norm(3, 4), norm_backward(3, 3, 4, 10), add(9, 10, 13, 1)];
        let mut program = program(list, 13);
        program.outputs.results = vec![ValueId(10)];
        lower_layer_norm(&mut program);
        assert_eq!(names(&program)[1..], ["layer_norm_backward", "aten::add.Tensor"]);
    }
}
