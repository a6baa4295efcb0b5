//! Turns a captured graph into a program: the order of the passes.

use super::capture::{Capture, CapturedCall};
use super::{passes, Call, Instruction, Op, Program};

impl From<Capture> for Program {
    /// The graph unchanged: one instruction for each call of torch.
    fn from(capture: Capture) -> Program {
        let Capture { values, inputs, calls, outputs } = capture;
        let instructions = calls.into_iter().map(instruction).collect();
        Program { values, inputs, instructions, outputs }
    }
}

fn instruction(call: CapturedCall) -> Instruction {
    let CapturedCall { name, overload, args, returns_list, draws, outputs } = call;
    // The trace only guesses the strides of its tensors; a reshape works for all of them.
    let name = match (name.as_str(), overload.as_str()) {
        ("aten::view" | "aten::_unsafe_view", "") => "aten::reshape".to_owned(),
        _ => name,
    };
    Instruction { op: Op::Call(Call { name, overload, args, returns_list, draws }), outputs }
}

impl Program {
    /// The program for the CPU: without aliases and dead code, with batch norms fused with their
    /// activations, and with typed attentions, layer norms and convolutions.
    pub fn lower(capture: Capture) -> Program {
        let mut program = Program::from(capture);
        passes::remove_aliases(&mut program);
        passes::remove_dead_code(&mut program);
        passes::lower_attention(&mut program);
        passes::lower_layer_norm(&mut program);
        passes::fuse_batch_norm(&mut program);
        passes::type_convolutions(&mut program);
        passes::tie_convolutions(&mut program);
        passes::fold_batch_norm(&mut program);
        passes::fuse_gradient_adds(&mut program);
        passes::remove_dead_code(&mut program);
        program
    }
}

impl Program {
    /// The program for CUDA, with tensors on `device`. torch computes the convolutions, from bf16
    /// shadows of the parameters that the optimizer maintains, and the optimizer reads gradients in
    /// their own type.
    pub fn lower_for_cuda(capture: Capture, device: &str) -> Program {
        let mut program = Program::from(capture);
        passes::move_to(&mut program, device);
        passes::remove_aliases(&mut program);
        passes::lower_cross_entropy(&mut program);
        passes::remove_dead_code(&mut program);
        passes::fuse_batch_norm(&mut program);
        passes::share_casts(&mut program);
        passes::narrow_images(&mut program);
        passes::take_bf16_gradients(&mut program);
        passes::remove_dead_code(&mut program);
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_become_reshapes() {
        let names = [("aten::view", ""), ("aten::_unsafe_view", ""), ("aten::view", "dtype")];
        let lowered = names.map(|(name, overload)| {
            let (name, overload) = (name.to_owned(), overload.to_owned());
            let (args, outputs) = (Vec::new(), Vec::new());
            let (returns_list, draws) = (false, false);
            let call = CapturedCall { name, overload, args, returns_list, draws, outputs };
            instruction(call).op.name()
        });
        assert_eq!(lowered, ["aten::reshape", "aten::reshape", "aten::view.dtype"]);
    }
}
