//! The loss as one operation with its gradient, as `proprelu.functional` has it.

use super::find_makers;
use crate::program::{Arg, CrossEntropy, Op, Program, ValueId};

pub fn lower_cross_entropy(program: &mut Program) {
    for instruction in &mut program.instructions {
        let Op::Call(call) = &instruction.op else { continue };
        if !call.is("proprelu::cross_entropy") {
            continue;
        }
        let smoothing = call.args.get(2).and_then(Arg::float);
        if let (Some(logits), Some(labels), Some(label_smoothing)) =
            (call.tensor(0), call.tensor(1), smoothing)
        {
            instruction.op = Op::CrossEntropy(CrossEntropy { logits, labels, label_smoothing });
        }
    }
    remove_unit_factors(program);
}

/// The gradient of the loss by itself is one: what torch multiplies with it stays what it is.
fn remove_unit_factors(program: &mut Program) {
    let makers = find_makers(program);
    let made_by = |value: ValueId, name: &str| {
        makers[value.0].is_some_and(|maker| match &program.instructions[maker].op {
            Op::Call(call) => call.is(name),
            _ => false,
        })
    };
    let mut name: Vec<ValueId> = (0..program.values.len()).map(ValueId).collect();
    for instruction in &program.instructions {
        let (Op::Call(call), [Some(product)]) = (&instruction.op, &instruction.outputs[..]) else {
            continue;
        };
        let (Some(a), Some(b)) = (call.tensor(0), call.tensor(1)) else { continue };
        let factors = [(a, b), (b, a)].into_iter().find(|(kept, one)| {
            let same = program.values[kept.0] == program.values[product.0];
            same && made_by(*one, "aten::ones_like")
        });
        if let Some((kept, _)) = factors.filter(|_| call.is("aten::mul")) {
            name[product.0] = name[kept.0];
        }
    }
    for instruction in &mut program.instructions {
        instruction.op.for_each_value_mut(|value| *value = name[value.0]);
    }
    program.outputs.values_mut().for_each(|value| *value = name[value.0]);
}

#[cfg(test)]
mod tests {
    use super::super::testing::program;
    use super::*;
    use crate::program::passes::remove_dead_code;
    use crate::program::{Call, Instruction};

    fn call(name: &str, args: Vec<Arg>, outputs: &[usize]) -> Instruction {
        let (name, overload) = (name.to_owned(), String::new());
        let op = Op::Call(Call { name, overload, args, returns_list: false });
        Instruction { op, outputs: outputs.iter().map(|value| Some(ValueId(*value))).collect() }
    }

    #[test]
    fn loss_and_gradient_are_one_operation() {
        let tensor = |value| Arg::Tensor(ValueId(value));
        let list = vec![
            call("proprelu::cross_entropy", vec![tensor(1), tensor(2), Arg::Float(0.1)], &[3, 4]),
            call("aten::ones_like", vec![tensor(3)], &[5]),
            call("aten::mul", vec![tensor(5), tensor(4)], &[6]),
            call("aten::relu", vec![tensor(6)], &[7]),
        ];
        let mut program = program(list, 7);
        lower_cross_entropy(&mut program);
        remove_dead_code(&mut program);
        let names: Vec<_> = program.instructions.iter().map(|i| i.op.name()).collect();
        assert_eq!(names, ["cross_entropy", "aten::relu"]);
        let mut read = Vec::new();
        program.instructions[1].op.for_each_value(|value| read.push(value.0));
        assert_eq!(read, [4]);
    }
}
