//! How operations read their tensors and return their results.

use tch::{Kind, Tensor};

use super::memory::{empty_channels_last, in_strides};
use super::storage::Storage;
use crate::error::{Error, Result};
use crate::program::{Arg, ValueId};

/// The results of an operation, one for each place; `None` where torch returned none.
pub type Outputs = Vec<Option<Tensor>>;

/// Called every now and then during a run; an error ends the run.
pub type Poll<'a> = dyn FnMut() -> Result<()> + 'a;

/// Returns the tensor of a value.
pub type Lookup<'a> = dyn Fn(ValueId) -> Result<Tensor> + 'a;

/// The tensor of an argument, in the strides that the operation has to find it in.
pub fn operand(arg: &Arg, lookup: &Lookup<'_>) -> Result<Tensor> {
    match arg {
        Arg::Strided { value, stride } => in_strides(&lookup(*value)?, stride),
        Arg::Tensor(value) => lookup(*value),
        _ => Err(Error::Capture("an argument must be a tensor".into())),
    }
}

/// Where our operations write their results: in planned memory, or in new memory if the caller may
/// keep the result or nothing uses it.
pub struct Places<'a> {
    pub outputs: &'a [Option<ValueId>],
    pub storage: &'a Storage,
}

impl Places<'_> {
    pub fn wanted(&self, place: usize) -> bool {
        self.outputs.get(place).is_some_and(Option::is_some)
    }

    /// A tensor with the shape of `like` and the channel innermost.
    pub fn like(&self, place: usize, like: &Tensor) -> Result<Tensor> {
        self.channels_last(place, like.size(), like.f_kind()?)
    }

    /// A tensor of an NCHW shape with the channel innermost.
    pub fn channels_last(&self, place: usize, size: Vec<i64>, kind: Kind) -> Result<Tensor> {
        let empty = || empty_channels_last(size, kind, self.storage.device());
        self.planned(place).map_or_else(empty, Ok)
    }

    /// A contiguous tensor.
    pub fn contiguous(&self, place: usize, size: &[i64], kind: Kind) -> Result<Tensor> {
        let Some(planned) = self.planned(place) else {
            return Ok(Tensor::f_empty(size, (kind, self.storage.device()))?);
        };
        // Planned memory is viewed with the channel innermost.
        let mut stride = vec![1; size.len()];
        for dim in (1..size.len()).rev() {
            stride[dim - 1] = stride[dim] * size[dim];
        }
        Ok(planned.f_as_strided(size, stride.as_slice(), None)?)
    }

    pub fn vector(&self, place: usize, len: usize) -> Result<Tensor> {
        let options = (Kind::Float, self.storage.device());
        self.planned(place).map_or_else(|| Ok(Tensor::f_empty([len as i64], options)?), Ok)
    }

    /// A tensor of two rows: means, and sums of squared deviations from them.
    pub fn moments(&self, place: usize, channels: usize) -> Result<Tensor> {
        let options = (Kind::Double, self.storage.device());
        let empty = || Ok(Tensor::f_empty([2, channels as i64], options)?);
        self.planned(place).map_or_else(empty, Ok)
    }

    fn planned(&self, place: usize) -> Option<Tensor> {
        self.storage.tensor(self.outputs.get(place).copied().flatten()?)
    }
}
