//! Calls the rare operations that only Python can run, with their arguments as Python objects.

use pyo3::prelude::*;
use pyo3::types::PyList;
use pyo3_tch::PyTensor;

use super::raised::Raised;
use crate::engine::{operand, Fallback, Lookup, Outputs};
use crate::error::Result;
use crate::program::{Arg, Call, Number};

/// `function(name, overload, args)` returns a list with a tensor or None for each result.
pub struct PythonFallback {
    pub function: Py<PyAny>,
    pub raised: Raised,
}

impl Fallback for PythonFallback {
    fn call(&self, call: &Call, lookup: &Lookup<'_>) -> Result<Outputs> {
        let results: PyResult<Vec<Option<PyTensor>>> = Python::with_gil(|py| {
            let args = call.args.iter().map(|arg| object(py, arg, lookup));
            let args = PyList::new(py, args.collect::<PyResult<Vec<_>>>()?)?;
            self.function.call1(py, (&call.name, &call.overload, args))?.extract(py)
        });
        let results = self.raised.keep(results)?;
        Ok(results.into_iter().map(|tensor| tensor.map(|tensor| tensor.0)).collect())
    }
}

fn object<'py>(py: Python<'py>, arg: &Arg, lookup: &Lookup<'_>) -> PyResult<Bound<'py, PyAny>> {
    let torch = |name: &str| py.import("torch")?.getattr(name);
    Ok(match arg {
        Arg::None => py.None().into_bound(py),
        Arg::Some(inner) => object(py, inner, lookup)?,
        Arg::Tensor(_) | Arg::Strided { .. } => {
            PyTensor(operand(arg, lookup)?).into_pyobject(py)?
        }
        Arg::Int(number) | Arg::Scalar(Number::Int(number)) => number.into_pyobject(py)?.into_any(),
        Arg::Float(number) | Arg::Scalar(Number::Float(number)) => {
            number.into_pyobject(py)?.into_any()
        }
        Arg::Bool(flag) | Arg::Scalar(Number::Bool(flag)) => {
            flag.into_pyobject(py)?.to_owned().into_any()
        }
        Arg::Str(text) => text.into_pyobject(py)?.into_any(),
        Arg::Dtype(dtype) => torch(&dtype.to_string())?,
        Arg::Layout(name) | Arg::MemoryFormat(name) => torch(name)?,
        Arg::Device(text) => torch("device")?.call1((text,))?,
        Arg::List(items) => {
            let items = items.iter().map(|item| object(py, item, lookup));
            PyList::new(py, items.collect::<PyResult<Vec<_>>>()?)?.into_any()
        }
    })
}
