//! A tensor that two branches read gets its gradient in two parts: the convolution that makes one
//! of them adds the other while it stores.

use super::{count_uses, find_makers};
use crate::program::{Arg, ConvolutionGradInput, Instruction, Op, Program, ValueId};

pub fn fuse_gradient_adds(program: &mut Program) {
    for index in 0..program.instructions.len() {
        // What was fused before is seen by the next: sums of three parts are two adds.
        if let Some((at, op)) = find(program, index) {
            program.instructions[index].op = Op::ConvolutionGradInput(op);
            program.instructions[at].outputs = vec![None];
        }
    }
    program.instructions.retain(|Instruction { op, outputs }| {
        !matches!(op, Op::ConvolutionGradInput(_)) || outputs.iter().any(Option::is_some)
    });
}

/// The gradient's instruction and what takes the place of the add at `index`.
fn find(program: &Program, index: usize) -> Option<(usize, ConvolutionGradInput)> {
    let Op::Call(call) = &program.instructions[index].op else { return None };
    let plain = call.is("aten::add") && call.overload == "Tensor";
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let info = |value: ValueId| &program.values[value.0];
    let alike = info(a) == info(b) && info(a).channels_last && a != b;
    if !plain || !alike || call.args.get(2).and_then(Arg::float) != Some(1.0) {
        return None;
    }
    let (uses, makers) = (count_uses(program), find_makers(program));
    // The later of the two has the other at hand already.
    let mut parts = [(makers[a.0], a, b), (makers[b.0], b, a)];
    parts.sort_by_key(|(maker, ..)| std::cmp::Reverse(*maker));
    parts.into_iter().find_map(|(maker, part, other)| {
        let at = maker.filter(|_| uses[part.0] == 1)?;
        match &program.instructions[at].op {
            Op::ConvolutionGradInput(op) if op.add.is_none() => {
                Some((at, ConvolutionGradInput { add: Some(other), ..op.clone() }))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Call, Dtype, Number, Outputs, ValueInfo, Window};

    const WINDOW: Window =
        Window { stride: [1; 2], padding: [1; 2], dilation: [1; 2], groups: 1, num_blocks: 1 };

    fn gradient(from: usize, to: usize) -> Instruction {
        let (grad_y, weight) = (ValueId(from), ValueId(0));
        let op =
            ConvolutionGradInput { grad_y, weight, window: WINDOW, add: None, algorithm: None };
        Instruction { op: Op::ConvolutionGradInput(op), outputs: vec![Some(ValueId(to))] }
    }

    fn add(a: usize, b: usize, to: usize, alpha: i64) -> Instruction {
        let args =
            vec![Arg::Tensor(ValueId(a)), Arg::Tensor(ValueId(b)), Arg::Scalar(Number::Int(alpha))];
        let (name, overload) = ("aten::add".to_owned(), "Tensor".to_owned());
        let op = Op::Call(Call { name, overload, args, returns_list: false });
        Instruction { op, outputs: vec![Some(ValueId(to))] }
    }

    fn fused(instructions: Vec<Instruction>, read: &[usize]) -> Vec<String> {
        let info =
            ValueInfo { shape: vec![2, 3, 4, 4], dtype: Dtype::Float32, channels_last: true };
        let gradients = read.iter().map(|value| (value.to_string(), ValueId(*value))).collect();
        let outputs = Outputs { gradients, ..Outputs::default() };
        let mut program =
            Program { values: vec![info; 10], inputs: Vec::new(), instructions, outputs };
        fuse_gradient_adds(&mut program);
        let described = program.instructions.iter().map(|Instruction { op, outputs }| match op {
            Op::ConvolutionGradInput(op) => {
                format!("{:?} += {:?}", outputs[0].map(|v| v.0), op.add.map(|v| v.0))
            }
            other => other.name(),
        });
        described.collect()
    }

    #[test]
    fn the_later_part_takes_the_add() {
        let list = fused(vec![gradient(1, 2), gradient(3, 4), add(2, 4, 5, 1)], &[5]);
        assert_eq!(list, ["Some(2) += None", "Some(5) += Some(2)"]);
    }

    #[test]
    fn three_parts_take_two() {
        let three =
            vec![gradient(1, 2), gradient(3, 4), add(2, 4, 5, 1), gradient(6, 7), add(5, 7, 8, 1)];
        assert_eq!(
            fused(three, &[8]),
            ["Some(2) += None", "Some(5) += Some(2)", "Some(8) += Some(5)"]
        );
    }

    #[test]
    fn what_others_read_or_scale_stays() {
        let read = vec![gradient(1, 2), add(2, 3, 5, 1)];
        assert_eq!(fused(read, &[2, 5]), ["Some(2) += None", "aten::add.Tensor"]);
        let scaled = vec![gradient(1, 2), add(2, 3, 5, 2)];
        assert_eq!(fused(scaled, &[5]), ["Some(2) += None", "aten::add.Tensor"]);
    }
}
