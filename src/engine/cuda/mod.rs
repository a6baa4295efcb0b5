//! Our kernels for CUDA on tensors: unpack, launch, pack. Nothing here waits for the device.

mod batch_norm;
mod cross_entropy;

use tch::{Kind, Tensor};

use super::memory::is_dense;
use super::values::{Lookup, Outputs, Places};
use crate::error::{Error, Result};
use crate::kernels::cuda::{Address, Device, Number};
use crate::program::{Op, ValueId};

/// Runs an operation that there are kernels for; `None` for all others.
pub fn run(
    op: &Op,
    lookup: &Lookup<'_>,
    places: &Places<'_>,
    device: &dyn Device,
) -> Result<Option<Outputs>> {
    Ok(Some(match op {
        Op::BatchNorm(op) => batch_norm::forward(op, lookup, places, device)?,
        Op::BatchNormApply(op) => batch_norm::apply(op, lookup, places, device)?,
        Op::BatchNormBackward(op) => batch_norm::backward(op, lookup, places, device)?,
        Op::CrossEntropy(op) => cross_entropy::run(op, lookup, places, device)?,
        _ => return Ok(None),
    }))
}

/// Where the elements of a dense tensor begin.
pub fn address(tensor: &Tensor) -> Result<Address> {
    match is_dense(tensor) {
        true => Ok(Address(tensor.data_ptr() as u64)),
        false => Err(Error::TensorMemory {
            expected: "memory without gaps".into(),
            got: format!("{:?} with strides {:?}", tensor.size(), tensor.stride()),
        }),
    }
}

/// The type of a tensor's elements, by its name in the sources.
pub fn number(tensor: &Tensor) -> Result<Number> {
    match tensor.f_kind()? {
        Kind::Float => Ok(Number::F32),
        Kind::BFloat16 => Ok(Number::Bf16),
        other => {
            let (expected, got) = ("Float or BFloat16".into(), format!("{other:?}"));
            Err(Error::TensorMemory { expected, got })
        }
    }
}

/// Memory to work in.
fn scratch(len: usize, kind: Kind, places: &Places<'_>) -> Result<Tensor> {
    Ok(Tensor::f_empty([len as i64], (kind, places.storage.device()))?)
}

/// A per-channel input of an operation, kept alive until the kernels are launched.
struct Vector(Option<Tensor>);

impl Vector {
    fn of(value: Option<ValueId>, lookup: &Lookup<'_>) -> Result<Vector> {
        Ok(Vector(
            value.map(|value| lookup(value)?.f_contiguous().map_err(Error::from)).transpose()?,
        ))
    }

    fn address(&self) -> Result<Address> {
        optional(self.0.as_ref())
    }
}

fn optional(tensor: Option<&Tensor>) -> Result<Address> {
    tensor.map_or(Ok(Address::NONE), address)
}
