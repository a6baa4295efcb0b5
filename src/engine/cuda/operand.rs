//! Tensors as operands of a launch: addresses, element types, scratch memory.

use tch::{Kind, Tensor};

use crate::engine::memory::{described, is_dense};
use crate::engine::values::{Lookup, Places};
use crate::error::{Error, Result};
use crate::kernels::cuda::{Address, Number};
use crate::program::ValueId;

/// The address of the first element of a dense tensor.
pub fn address(tensor: &Tensor) -> Result<Address> {
    match is_dense(tensor) {
        true => Ok(Address(tensor.data_ptr() as u64)),
        false => Err(Error::TensorMemory { expected: "a tensor".into(), got: described(tensor)? }),
    }
}

/// The element type of a tensor, as the CUDA sources name it.
pub fn number(tensor: &Tensor) -> Result<Number> {
    match tensor.f_kind()? {
        Kind::Float => Ok(Number::F32),
        Kind::BFloat16 => Ok(Number::Bf16),
        _ => {
            let (expected, got) = ("a float32 or bfloat16 tensor".into(), described(tensor)?);
            Err(Error::TensorMemory { expected, got })
        }
    }
}

/// Memory for intermediate results.
pub fn scratch(len: usize, kind: Kind, places: &Places<'_>) -> Result<Tensor> {
    Ok(Tensor::f_empty([len as i64], (kind, places.storage.device()))?)
}

/// A per-channel input of an operation, kept alive until the kernels are launched.
pub struct Vector(Option<Tensor>);

impl Vector {
    pub fn optional(value: Option<ValueId>, lookup: &Lookup<'_>) -> Result<Vector> {
        Ok(Vector(
            value.map(|value| lookup(value)?.f_contiguous().map_err(Error::from)).transpose()?,
        ))
    }

    pub fn address(&self) -> Result<Address> {
        optional(self.0.as_ref())
    }
}

/// The address of a tensor that may be absent.
pub fn optional(tensor: Option<&Tensor>) -> Result<Address> {
    tensor.map_or(Ok(Address::NONE), address)
}
