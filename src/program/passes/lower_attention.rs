//! Finds the attentions of a graph that have a kernel.

use super::graph::{Graph, Replacements};
use crate::program::{
    Arg, Attention, AttentionBackward, Call, Dtype, Instruction, Op, Program, ValueId, ValueInfo,
};

const FORWARD: &str = "aten::_scaled_dot_product_flash_attention_for_cpu";
const BACKWARD: &str = "aten::_scaled_dot_product_flash_attention_for_cpu_backward";

pub fn lower_attention(program: &mut Program) {
    let graph = Graph::new(program);
    let count = program.instructions.len();
    let forwards: Vec<_> = (0..count).map(|index| forward(&graph, index)).collect();
    let backwards: Vec<_> = (0..count).map(|index| backward(&graph, index)).collect();
    let old = std::mem::take(&mut program.instructions);
    for ((instruction, forward), backward) in old.into_iter().zip(forwards).zip(backwards) {
        let Instruction { op, outputs } = instruction;
        match (forward, backward) {
            (Some(op), _) => {
                program.instructions.push(Instruction { op: Op::Attention(op), outputs });
            }
            (None, Some((op, together))) => separated(program, op, &together, &outputs),
            (None, None) => program.instructions.push(Instruction { op, outputs }),
        }
    }
    take_gradients_together(program);
}

fn forward(graph: &Graph, index: usize) -> Option<Attention> {
    let call = graph.call(index, FORWARD)?;
    let (q, k, v) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let scale = plain(graph, call, 3, [q, k, v])?;
    Some(Attention { q, k, v, scale })
}

fn backward(graph: &Graph, index: usize) -> Option<(AttentionBackward, ValueInfo)> {
    let call = graph.call(index, BACKWARD)?;
    let (grad_y, logsumexp) = (call.tensor(0)?, call.tensor(5)?);
    let (q, k, v) = (call.tensor(1)?, call.tensor(2)?, call.tensor(3)?);
    let scale = plain(graph, call, 6, [q, k, v])?;
    let &[batch, heads, tokens, features] = &graph.info(q).shape[..] else { return None };
    let shape = vec![batch, tokens, 3, heads, features];
    let info = ValueInfo { shape, dtype: graph.dtype(q), channels_last: false };
    let op = AttentionBackward { grad_y, q, k, v, logsumexp, scale };
    graph.congruent(grad_y, q).then_some((op, info))
}

/// The scale of a call without dropout, whose probability is argument number `dropout`, and without
/// a mask, if the three operands are of one shape.
fn plain(graph: &Graph, call: &Call, dropout: usize, [q, k, v]: [ValueId; 3]) -> Option<f64> {
    let argument = |place: usize| call.args.get(place);
    let is_plain = argument(dropout)?.float() == Some(0.0)
        && argument(dropout + 1)?.bool() == Some(false)
        && argument(dropout + 2).is_none_or(|mask| *mask == Arg::None);
    let info = graph.info(q);
    let fits = matches!(info.dtype, Dtype::Float32 | Dtype::Bfloat16)
        && info.shape.len() == 4
        && graph.congruent(q, k)
        && graph.congruent(q, v);
    let scale = match argument(dropout + 3) {
        Some(Arg::Some(scale)) => scale.float()?,
        Some(Arg::Float(scale)) => *scale,
        Some(Arg::None) | None => 1.0 / (*info.shape.last()? as f64).sqrt(),
        Some(_) => return None,
    };
    (is_plain && fits).then_some(scale)
}

/// Adds the operation, and views of its result as the single gradients.
fn separated(
    program: &mut Program,
    op: AttentionBackward,
    together: &ValueInfo,
    gradients: &[Option<ValueId>],
) {
    let all = program.new_value(together.clone());
    let op = Op::AttentionBackward(op);
    program.instructions.push(Instruction { op, outputs: vec![Some(all)] });
    for (part, gradient) in gradients.iter().enumerate() {
        let &Some(gradient) = gradient else { continue };
        let mut shape = together.shape.clone();
        shape.remove(2);
        let selected = program.new_value(ValueInfo { shape, ..together.clone() });
        let select = vec![Arg::Tensor(all), Arg::Int(2), Arg::Int(part as i64)];
        let transpose = vec![Arg::Tensor(selected), Arg::Int(1), Arg::Int(2)];
        program.instructions.push(view("aten::select", select, selected));
        program.instructions.push(view("aten::transpose", transpose, gradient));
    }
}

fn view(name: &str, args: Vec<Arg>, output: ValueId) -> Instruction {
    let (name, overload) = (name.to_owned(), "int".to_owned());
    let op = Op::Call(Call { name, overload, args, returns_list: false, draws: false });
    Instruction { op, outputs: vec![Some(output)] }
}

/// Where queries, keys and values are parts of one tensor, torch stacks their gradients and copies
/// the stack into the order of that tensor, in which they already are.
fn take_gradients_together(program: &mut Program) {
    let graph = Graph::new(program);
    let mut replacements = Replacements::new(program);
    for index in 0..program.instructions.len() {
        if let Some((copy, all)) = copied_stack(&graph, index) {
            replacements.replace(copy, all);
        }
    }
    replacements.apply_to_instructions(program);
}

/// A copy of the permuted stack of the three gradients of an attention, and those gradients.
fn copied_stack(graph: &Graph, index: usize) -> Option<(ValueId, ValueId)> {
    let source = |index: usize, name: &str| graph.call(index, name)?.tensor(0);
    let defining = |value: ValueId| graph.definition(value);
    let copy = graph.output(index, 0)?;
    let permute = defining(source(index, "aten::clone")?)?;
    let order = graph.call(permute, "aten::permute")?.args.get(1)?;
    let is_interleaving = *order == Arg::List([1, 3, 0, 2, 4].map(Arg::Int).to_vec());
    let stack = defining(source(permute, "aten::permute")?)?;
    let stack = graph.call(stack, "aten::stack")?;
    let first = stack.args.get(1).is_none_or(|dim| *dim == Arg::Int(0));
    let Some(Arg::List(parts)) = stack.args.first() else { return None };
    let mut all = None;
    for (number, part) in parts.iter().enumerate() {
        let select = defining(source(defining(part.tensor()?)?, "aten::transpose")?)?;
        let select = graph.call(select, "aten::select")?;
        let whole = select.tensor(0)?;
        let is_part = select.args.get(2) == Some(&Arg::Int(number as i64));
        if !is_part || all.is_some_and(|all| all != whole) {
            return None;
        }
        all = Some(whole);
    }
    let all = all.filter(|_| is_interleaving && first && parts.len() == 3)?;
    let is_gradient = matches!(graph.op(defining(all)?), Op::AttentionBackward(_));
    (is_gradient && graph.congruent(copy, all) && !graph.is_output(copy)).then_some((copy, all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::passes::remove_dead_code;
    use crate::program::testing::{call, names, program, reads, tensors};

    const PLAIN: [Arg; 4] = [Arg::Float(0.0), Arg::Bool(false), Arg::None, Arg::None];

    fn attention(options: [Arg; 4]) -> Instruction {
        call(FORWARD, [tensors(&[1, 2, 3]), options.to_vec()].concat(), &[4, 5])
    }

    fn backward_of(options: [Arg; 4]) -> Instruction {
        let args = [tensors(&[6, 1, 2, 3, 4, 5]), options.to_vec()].concat();
        call(BACKWARD, args, &[7, 8, 9])
    }

    fn gradients_in_one(order: [i64; 5]) -> Vec<Instruction> {
        let order = Arg::List(order.map(Arg::Int).to_vec());
        let parts = vec![Arg::List(tensors(&[7, 8, 9])), Arg::Int(0)];
        vec![
            attention(PLAIN),
            backward_of(PLAIN),
            call("aten::stack", parts, &[10]),
            call("aten::permute", [tensors(&[10]), vec![order]].concat(), &[11]),
            call("aten::clone", tensors(&[11]), &[12]),
            call("aten::relu", tensors(&[12]), &[13]),
        ]
    }

    #[test]
    fn a_plain_attention_is_typed() {
        let mut plain = program(vec![attention(PLAIN), call("aten::relu", tensors(&[4]), &[6])], 6);
        lower_attention(&mut plain);
        assert_eq!(names(&plain), ["attention", "aten::relu"]);
        let Op::Attention(op) = &plain.instructions[0].op else { panic!("an attention") };
        assert_eq!(op.scale, 0.5, "of 4 features");
    }

    #[test]
    fn other_attentions_stay() {
        let [dropout, causal, mask, scale] = PLAIN;
        let others = [
            [Arg::Float(0.1), causal.clone(), mask.clone(), scale.clone()],
            [dropout.clone(), Arg::Bool(true), mask, scale.clone()],
            [dropout, causal, Arg::Some(Box::new(Arg::Tensor(ValueId(0)))), scale],
        ];
        for options in others {
            let mut other = program(vec![attention(options.clone()), backward_of(options)], 7);
            lower_attention(&mut other);
            assert_eq!(names(&other), [FORWARD, BACKWARD]);
        }
        let mut exact = program(vec![attention(PLAIN)], 4);
        exact.values.iter_mut().for_each(|value| value.dtype = Dtype::Float64);
        lower_attention(&mut exact);
        assert_eq!(names(&exact), [FORWARD]);
        let mut crossed = program(vec![attention(PLAIN)], 4);
        crossed.values[1].shape[2] = 7;
        lower_attention(&mut crossed);
        assert_eq!(names(&crossed), [FORWARD]);
    }

    #[test]
    fn gradients_are_views_of_one_tensor() {
        let sum = call("aten::add", tensors(&[7, 9]), &[10]);
        let mut summed = program(vec![attention(PLAIN), backward_of(PLAIN), sum], 10);
        lower_attention(&mut summed);
        remove_dead_code(&mut summed);
        let views = ["aten::select.int", "aten::transpose.int"].repeat(2);
        assert_eq!(names(&summed)[..2], ["attention", "attention_backward"]);
        assert_eq!(names(&summed)[2..6], views);
    }

    #[test]
    fn gradients_of_one_tensor_are_not_stacked() {
        for (order, stacked) in [([1, 3, 0, 2, 4], false), ([1, 3, 2, 0, 4], true)] {
            let mut one = program(gradients_in_one(order), 13);
            one.values[12].shape = vec![2, 4, 3, 3, 4];
            lower_attention(&mut one);
            remove_dead_code(&mut one);
            assert_eq!(names(&one).contains(&"aten::stack".to_owned()), stacked);
            let last = one.instructions.len() - 1;
            let all = one.instructions[1].outputs[0].unwrap().0;
            assert_eq!(reads(&one, last) == [all], !stacked);
        }
    }
}
