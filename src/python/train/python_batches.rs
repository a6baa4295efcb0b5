//! Batches from Python: any iterable with a length that yields pairs of images and labels, which are
//! a tensor or a list of tensors. If it has a method `epoch(number)`, the result of that is iterated
//! over.

use pyo3::prelude::*;
use pyo3::types::PyIterator;
use pyo3_tch::PyTensor;
use tch::{Kind, Tensor};

use super::raised::Raised;
use crate::engine::memory::to_channels_last;
use crate::error::{Error, Result};
use crate::train::{Batch, Batches};

pub struct PythonBatches {
    object: Py<PyAny>,
    iterator: Option<Py<PyIterator>>,
    length: usize,
    raised: Raised,
}

impl PythonBatches {
    pub fn new(object: &Bound<'_, PyAny>, raised: &Raised) -> PyResult<PythonBatches> {
        let (length, raised) = (object.len()?, raised.clone());
        Ok(PythonBatches { object: object.clone().unbind(), iterator: None, length, raised })
    }

    fn next_tensors(&self, py: Python<'_>) -> PyResult<Option<(PyTensor, Labels)>> {
        let Some(iterator) = &self.iterator else { return Ok(None) };
        let item = iterator.bind(py).clone().next().transpose()?;
        item.map(|item| item.extract()).transpose()
    }
}

#[derive(FromPyObject)]
enum Labels {
    One(PyTensor),
    Several(Vec<PyTensor>),
}

impl Batches for PythonBatches {
    fn num_batches(&self) -> usize {
        self.length
    }

    fn start(&mut self, epoch: u64) -> Result<()> {
        let iterator = Python::with_gil(|py| {
            let object = self.object.bind(py);
            let batches = match object.hasattr("epoch")? {
                true => object.call_method1("epoch", (epoch,))?,
                false => object.clone(),
            };
            Ok(batches.try_iter()?.unbind())
        });
        self.iterator = Some(self.raised.keep(iterator)?);
        Ok(())
    }

    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let item = Python::with_gil(|py| self.next_tensors(py));
        let Some((images, labels)) = self.raised.keep(item)? else { return Ok(None) };
        let images = images.0;
        let labels: Vec<Tensor> = match labels {
            Labels::One(labels) => vec![labels.0],
            Labels::Several(labels) => labels.into_iter().map(|labels| labels.0).collect(),
        };
        if let [labels] = labels.as_slice() {
            let (images, labels) = (images.size(), labels.size());
            if images.first() != labels.first() {
                return Err(Error::BatchCounts { images, labels });
            }
        }
        let images = to_channels_last(&images.f_to_kind(Kind::Float)?)?;
        Ok(Some(Batch { images, labels }))
    }
}
