//! Types `proprelu::cross_entropy`, which computes a loss together with its gradient.

use super::graph::{Graph, Replacements};
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

/// Removes multiplications by the gradient of the loss with respect to itself, which is one.
fn remove_unit_factors(program: &mut Program) {
    let graph = Graph::new(program);
    let is_one = |value: ValueId| {
        graph.definition(value).is_some_and(|index| graph.call(index, "aten::ones_like").is_some())
    };
    let mut replacements = Replacements::new(program);
    for (index, instruction) in program.instructions.iter().enumerate() {
        let [Some(product)] = instruction.outputs[..] else { continue };
        let Some(call) = graph.call(index, "aten::mul") else { continue };
        let (Some(a), Some(b)) = (call.tensor(0), call.tensor(1)) else { continue };
        let factors = [(a, b), (b, a)];
        let is_kept =
            |(kept, one): &(ValueId, ValueId)| graph.alike(*kept, product) && is_one(*one);
        if let Some((kept, _)) = factors.into_iter().find(is_kept) {
            replacements.replace(product, kept);
        }
    }
    replacements.apply_to_instructions(program);
    replacements.apply_to_outputs(program);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::passes::remove_dead_code;
    use crate::program::testing::{call, names, program, reads, tensors};

    #[test]
    fn loss_and_gradient_are_one_operation() {
        let loss = [tensors(&[1, 2]), vec![Arg::Float(0.1)]].concat();
        let list = vec![
            call("proprelu::cross_entropy", loss, &[3, 4]),
            call("aten::ones_like", tensors(&[3]), &[5]),
            call("aten::mul", tensors(&[5, 4]), &[6]),
            call("aten::relu", tensors(&[6]), &[7]),
        ];
        let mut program = program(list, 7);
        lower_cross_entropy(&mut program);
        remove_dead_code(&mut program);
        assert_eq!(names(&program), ["cross_entropy", "aten::relu"]);
        assert_eq!(reads(&program, 1), [4]);
    }
}
