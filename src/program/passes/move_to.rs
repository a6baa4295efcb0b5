//! A graph is traced on the CPU, whatever it is to run on.

use crate::program::{Arg, Op, Program};

/// Has calls make their tensors on a device, by torch's name for it.
pub fn move_to(program: &mut Program, device: &str) {
    for instruction in &mut program.instructions {
        if let Op::Call(call) = &mut instruction.op {
            call.args.iter_mut().for_each(|arg| rename(arg, device));
        }
    }
}

fn rename(arg: &mut Arg, device: &str) {
    match arg {
        Arg::Device(name) if name == "cpu" => *name = device.to_owned(),
        Arg::Some(inner) => rename(inner, device),
        Arg::List(items) => items.iter_mut().for_each(|item| rename(item, device)),
        _ => {}
    }
}
