//! Runs any operation of torch by name, through torch's dispatcher.

use tch::Device;

use super::scalar_call;
use super::shim::{self, StableValue};
use super::values::{operand, Lookup, Outputs};
use crate::error::Result;
use crate::program::{Arg, Call};

/// Runs the few operations that neither the dispatcher's C interface nor tch can run, and on the
/// CPU those that draw random numbers, because it decides on the generator.
pub trait Fallback: Send + Sync {
    fn call(&self, call: &Call, lookup: &Lookup<'_>) -> Result<Outputs>;
}

pub fn run(
    call: &Call,
    results: usize,
    lookup: &Lookup<'_>,
    fallback: &dyn Fallback,
    device: Device,
) -> Result<Outputs> {
    if call.draws && device == Device::Cpu {
        return fallback.call(call, lookup);
    }
    if !call.args.iter().any(Arg::has_scalar) {
        return dispatch(call, results, lookup);
    }
    match scalar_call::run(call, lookup, device)? {
        Some(output) => Ok(vec![Some(output)]),
        None => fallback.call(call, lookup),
    }
}

fn dispatch(call: &Call, results: usize, lookup: &Lookup<'_>) -> Result<Outputs> {
    let mut stack =
        call.args.iter().map(|arg| stable(arg, lookup)).collect::<Result<Vec<StableValue>>>()?;
    let returned = if call.returns_list { 1 } else { results };
    stack.resize(stack.len().max(returned), 0);
    shim::call_dispatcher(&call.name, &call.overload, &mut stack)?;
    let values = match call.returns_list {
        true => shim::into_list(stack[0])?,
        false => stack[..returned].to_vec(),
    };
    Ok(values.into_iter().map(shim::into_tensor).collect())
}

fn stable(arg: &Arg, lookup: &Lookup<'_>) -> Result<StableValue> {
    Ok(match arg {
        // The null pointer stands for an absent optional only.
        Arg::None => 0,
        Arg::Some(inner) => shim::from_some(stable(inner, lookup)?)?,
        Arg::Tensor(_) | Arg::Strided { .. } => shim::from_tensor(&operand(arg, lookup)?),
        Arg::Int(number) => *number as StableValue,
        Arg::Float(number) => number.to_bits(),
        Arg::Bool(flag) => StableValue::from(*flag),
        Arg::Str(text) => shim::from_str(text)?,
        Arg::Dtype(dtype) => dtype.code() as StableValue,
        Arg::Layout(name) => shim::from_layout(name)?,
        Arg::Device(text) => shim::from_device(text)?,
        Arg::MemoryFormat(name) => shim::from_memory_format(name)?,
        Arg::List(items) => {
            shim::from_list(items.iter().map(|item| stable(item, lookup)).collect::<Result<_>>()?)?
        }
        Arg::Scalar(_) => {
            return Err(crate::error::Error::Capture("a Scalar has no C interface".into()))
        }
    })
}
