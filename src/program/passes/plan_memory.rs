//! Places the results of our own kernels in one block of memory. Results that are never needed at
//! the same time share memory.

use crate::program::{Op, Program, ValueId};

/// The alignment of results in bytes: a cache line, and the widest vector.
const ALIGNMENT: usize = 64;

pub struct MemoryPlan {
    /// The offset of each value in bytes; `None` for values that torch allocates.
    pub offsets: Vec<Option<usize>>,
    /// The size of the block.
    pub bytes: usize,
}

/// Plans the results of the instructions for which `planned` holds, except for values that the
/// caller may keep for longer than a run.
pub fn plan_memory(program: &Program, planned: &dyn Fn(usize) -> bool) -> MemoryPlan {
    let ends = ends(program);
    let kept = kept(program);
    let mut spans = Vec::new();
    for (index, instruction) in program.instructions.iter().enumerate() {
        for value in instruction.outputs.iter().flatten() {
            if planned(index) && !kept[value.0] {
                let bytes = program.values[value.0].bytes().next_multiple_of(ALIGNMENT);
                let end = ends[value.0].unwrap_or(index);
                spans.push(Span { value: *value, start: index, end, bytes, offset: 0 });
            }
        }
    }
    place(&mut spans);
    let mut offsets = vec![None; program.values.len()];
    spans.iter().for_each(|span| offsets[span.value.0] = Some(span.offset));
    let bytes = spans.iter().map(|span| span.offset + span.bytes).max().unwrap_or(0);
    MemoryPlan { offsets, bytes }
}

/// The life of a value: from the instruction that defines it to the one that reads it last.
#[derive(Clone)]
struct Span {
    value: ValueId,
    start: usize,
    end: usize,
    bytes: usize,
    offset: usize,
}

/// Gives each span, the largest first, the lowest offset that is free during its life.
fn place(spans: &mut [Span]) {
    spans.sort_by_key(|span| (std::cmp::Reverse(span.bytes), span.start));
    for index in 0..spans.len() {
        let (placed, rest) = spans.split_at_mut(index);
        let span = &mut rest[0];
        let together = |other: &&Span| other.start <= span.end && span.start <= other.end;
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(together)
            .map(|other| (other.offset, other.offset + other.bytes))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (from, to) in taken {
            if offset + span.bytes <= from {
                break;
            }
            offset = offset.max(to);
        }
        span.offset = offset;
    }
}

/// The values that the caller keeps: loss, predictions and results, and all that they may be views
/// of.
fn kept(program: &Program) -> Vec<bool> {
    let outputs = &program.outputs;
    let mut kept = vec![false; program.values.len()];
    let single = outputs.loss.into_iter().chain(outputs.predictions);
    single.chain(outputs.results.iter().copied()).for_each(|value| kept[value.0] = true);
    for instruction in program.instructions.iter().rev() {
        let Op::Call(call) = &instruction.op else { continue };
        let is_kept = instruction.outputs.iter().flatten().any(|value| kept[value.0]);
        if is_kept && !makes_copies(&call.name) {
            instruction.op.for_each_value(|value| kept[value.0] = true);
        }
    }
    kept
}

/// The last instruction that needs the memory of each value; `None` if no instruction does. Calls
/// of torch may return views of their inputs, so that the inputs live as long as the results.
fn ends(program: &Program) -> Vec<Option<usize>> {
    let mut ends = vec![None; program.values.len()];
    program.outputs.values().for_each(|value| ends[value.0] = Some(usize::MAX));
    for (index, instruction) in program.instructions.iter().enumerate().rev() {
        let results = instruction.outputs.iter().flatten().filter_map(|value| ends[value.0]).max();
        let end = match &instruction.op {
            Op::Call(call) if !makes_copies(&call.name) => results.unwrap_or(index).max(index),
            _ => index,
        };
        instruction.op.for_each_value(|value| ends[value.0] = ends[value.0].max(Some(end)));
    }
    ends
}

/// Whether a call of torch never returns a view. Lists the calls that read large activations.
fn makes_copies(name: &str) -> bool {
    const COPYING: [&str; 19] = [
        "aten::_to_copy",
        "aten::add",
        "aten::addmm",
        "aten::bmm",
        "aten::clone",
        "aten::convolution",
        "aten::convolution_backward",
        "aten::cat",
        "aten::max_pool2d_with_indices",
        "aten::max_pool2d_with_indices_backward",
        "aten::mean",
        "aten::mm",
        "aten::mul",
        "aten::native_layer_norm",
        "aten::native_layer_norm_backward",
        "aten::relu",
        "aten::stack",
        "aten::sum",
        "aten::threshold_backward",
    ];
    COPYING.contains(&name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::program::{testing, Dtype, Instruction, Outputs, ValueInfo};

    fn call(name: &str, reads: &[usize], to: usize) -> Instruction {
        testing::call(name, testing::tensors(reads), &[to])
    }

    fn program(instructions: Vec<Instruction>, sizes: &[i64], read: usize) -> Program {
        let value = |size: &i64| ValueInfo {
            shape: vec![*size],
            dtype: Dtype::Float32,
            channels_last: false,
        };
        let gradients = vec![("weight".to_owned(), ValueId(read))];
        let outputs = Outputs { gradients, ..Outputs::default() };
        let values = sizes.iter().map(value).collect();
        Program { values, inputs: Vec::new(), instructions, outputs }
    }

    #[test]
    fn dead_values_share_memory() {
        let chain = (1..5).map(|value| call("aten::relu", &[value - 1], value)).collect();
        let plan = plan_memory(&program(chain, &[16; 5], 4), &|_| true);
        assert_eq!(plan.bytes, 128);
        assert_eq!(plan.offsets, [None, Some(0), Some(64), Some(0), Some(64)]);
    }

    #[test]
    fn a_view_keeps_its_source() {
        let chain = vec![
            call("aten::relu", &[0], 1),
            call("aten::reshape", &[1], 2),
            call("aten::relu", &[0], 3),
            call("aten::add", &[2, 3], 4),
        ];
        let plan = plan_memory(&program(chain, &[16; 5], 4), &|index| index != 1);
        assert!(plan.offsets[1] != plan.offsets[3] && plan.offsets[2].is_none());
    }

    #[test]
    fn predictions_are_not_planned() {
        let mut program = program(vec![call("aten::relu", &[0], 1)], &[16; 2], 1);
        program.outputs = Outputs { predictions: Some(ValueId(1)), ..Outputs::default() };
        assert_eq!(plan_memory(&program, &|_| true).bytes, 0);
        let view = vec![call("aten::relu", &[0], 1), call("aten::reshape", &[1], 2)];
        program.instructions = view;
        program.values.push(program.values[0].clone());
        program.outputs = Outputs { results: vec![ValueId(2)], ..Outputs::default() };
        assert_eq!(plan_memory(&program, &|index| index == 0).bytes, 0);
    }

    proptest! {
        #[test]
        fn live_values_do_not_overlap(reads in prop::collection::vec((0usize..30, 0usize..30), 1..30),
                                  sizes in prop::collection::vec(0i64..100, 31)) {
            let list: Vec<Instruction> = reads.iter().enumerate()
                .map(|(i, (a, b))| call("aten::add", &[a % (i + 1), b % (i + 1)], i + 1))
                .collect();
            let program = program(list, &sizes, reads.len());
            let plan = plan_memory(&program, &|_| true);
            let ends = ends(&program);
            let span = |value: usize| {
                let from = plan.offsets[value].unwrap();
                (from, from + program.values[value].bytes())
            };
            for (a, end) in ends.iter().enumerate().take(reads.len() + 1).skip(1) {
                for b in a + 1..=reads.len() {
                    let ((a0, a1), (b0, b1)) = (span(a), span(b));
                    // `a` is still read when `b` is computed, or after that.
                    let together = end.is_some_and(|end| end >= b - 1);
                    prop_assert!(!together || a1 <= b0 || b1 <= a0, "{a} {b}");
                }
            }
        }
    }
}
