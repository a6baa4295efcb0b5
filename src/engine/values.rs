//! How operations get their tensors and give their results.

use tch::Tensor;

use crate::error::Result;
use crate::program::ValueId;

/// The results of an operation, one for each place; `None` where torch gave none.
pub type Outputs = Vec<Option<Tensor>>;

/// Asked now and then whether to go on; an error ends the run.
pub type Poll<'a> = dyn FnMut() -> Result<()> + 'a;

/// Where a value of the program is looked up.
pub type Lookup<'a> = dyn Fn(ValueId) -> Result<Tensor> + 'a;
