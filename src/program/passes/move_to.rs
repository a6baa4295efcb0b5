//! A graph is traced on the CPU, whatever device it is to run on.

use crate::program::{Arg, Op, Program};

/// Has calls create their tensors on a device, by torch's name for it.
pub fn move_to(program: &mut Program, device: &str) {
    for instruction in &mut program.instructions {
        if let Op::Call(call) = &mut instruction.op {
            call.args.iter_mut().for_each(|arg| move_arg(arg, device));
        }
    }
}

fn move_arg(arg: &mut Arg, device: &str) {
    match arg {
        Arg::Device(name) if name == "cpu" => *name = device.to_owned(),
        Arg::Some(inner) => move_arg(inner, device),
        Arg::List(items) => items.iter_mut().for_each(|item| move_arg(item, device)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::testing::{call, program};

    #[test]
    fn tensors_are_created_on_the_device() {
        let device = |name: &str| Arg::Some(Box::new(Arg::Device(name.into())));
        let mut moved = program(vec![call("aten::full", vec![device("cpu")], &[2])], 2);
        move_to(&mut moved, "cuda:1");
        let Op::Call(call) = &moved.instructions[0].op else { panic!("a call") };
        assert_eq!(call.args, [device("cuda:1")]);
    }
}
