//! Arrays of numbers and structures in device memory.

use std::marker::PhantomData;
use std::sync::Arc;

use tch::{Kind, Tensor};

use crate::engine::Target;
use crate::error::{Error, Result};
use crate::kernels::cuda::{Address, Device, Plain};

/// The device of a target.
///
/// # Errors
/// The target is not a GPU.
pub fn device(target: &Target) -> Result<Arc<dyn Device + Send + Sync>> {
    target.cuda.clone().ok_or_else(|| Error::Cuda("the program does not run on a GPU".into()))
}

/// An array of items in device memory.
pub struct Table<T> {
    tensor: Tensor,
    len: usize,
    device: Arc<dyn Device + Send + Sync>,
    kind: PhantomData<T>,
}

impl<T: Plain> Table<T> {
    /// An array of default values.
    pub fn new(len: usize, target: &Target) -> Result<Table<T>> {
        Table::of(&vec![T::default(); len], target)
    }

    /// An array with a copy of `items`.
    pub fn of(items: &[T], target: &Target) -> Result<Table<T>> {
        let len = items.len();
        let bytes = size_of_val(items) as i64;
        let tensor = Tensor::f_empty([bytes], (Kind::Uint8, target.device))?;
        let table = Table { tensor, len, device: device(target)?, kind: PhantomData };
        table.write(items)?;
        Ok(table)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn address(&self) -> Address {
        Address(self.tensor.data_ptr() as u64)
    }

    /// Writes the first items, after all work that was launched before.
    pub fn write(&self, items: &[T]) -> Result<()> {
        if items.len() > self.len {
            let (expected, got) = (self.len, items.len());
            return Err(Error::Cuda(format!("a table of {expected} items was given {got}")));
        }
        if items.is_empty() {
            return Ok(());
        }
        // SAFETY: `Plain` types consist of bytes without padding; the table is long enough.
        unsafe {
            let bytes = std::slice::from_raw_parts(items.as_ptr().cast(), size_of_val(items));
            self.device.write(bytes, self.address())
        }
    }

    /// Reads all items, after waiting for all work that was launched before.
    pub fn read(&self) -> Result<Vec<T>> {
        let mut items = vec![T::default(); self.len];
        // SAFETY: any bytes are valid values of a `Plain` type.
        unsafe {
            let bytes = std::slice::from_raw_parts_mut(
                items.as_mut_ptr().cast(),
                size_of_val(items.as_slice()),
            );
            self.device.read(self.address(), bytes)?;
        }
        Ok(items)
    }
}
