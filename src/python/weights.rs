//! Weights as NumPy arrays.

use numpy::{IntoPyArray, PyArray1, PyArray4, PyReadonlyArray1, PyReadonlyArray4, ToPyArray};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::weights::{decompose, Convolution, Geometry, Variant};

type Pair = (usize, usize);

#[pyclass(name = "ConvGeometry", module = "proprelu._core", frozen, eq, hash)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PyGeometry(Geometry);

#[pymethods]
impl PyGeometry {
    #[new]
    #[pyo3(signature = (in_channels, out_channels, kernel_size, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, bias=true))]
    #[allow(clippy::too_many_arguments)] // those of torch's layer
    fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: Pair,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: usize,
        bias: bool,
    ) -> PyResult<PyGeometry> {
        let geometry = Geometry {
            in_channels,
            out_channels,
            kernel_size: kernel_size.into(),
            stride: stride.into(),
            padding: padding.into(),
            dilation: dilation.into(),
            groups,
            bias,
            border: false,
            frame: [0; 2],
        };
        geometry.check()?;
        Ok(PyGeometry(geometry))
    }

    #[staticmethod]
    fn pointwise(channels: usize, bias: bool) -> PyGeometry {
        PyGeometry(Geometry::pointwise(channels, bias))
    }

    #[getter]
    fn in_channels(&self) -> usize {
        self.0.in_channels
    }

    #[getter]
    fn out_channels(&self) -> usize {
        self.0.out_channels
    }

    #[getter]
    fn kernel_size(&self) -> Pair {
        self.0.kernel_size.into()
    }

    #[getter]
    fn stride(&self) -> Pair {
        self.0.stride.into()
    }

    #[getter]
    fn padding(&self) -> Pair {
        self.0.padding.into()
    }

    #[getter]
    fn dilation(&self) -> Pair {
        self.0.dilation.into()
    }

    #[getter]
    fn groups(&self) -> usize {
        self.0.groups
    }

    #[getter]
    fn bias(&self) -> bool {
        self.0.bias
    }

    #[getter]
    fn border(&self) -> bool {
        self.0.border
    }

    #[getter]
    fn frame(&self) -> Pair {
        self.0.frame.into()
    }

    #[getter]
    fn multiplications(&self) -> usize {
        self.0.multiplications()
    }

    fn then(&self, next: &PyGeometry) -> PyResult<PyGeometry> {
        Ok(PyGeometry(self.0.then(&next.0)?))
    }

    fn beside(&self, other: &PyGeometry) -> PyResult<PyGeometry> {
        Ok(PyGeometry(self.0.beside(&other.0)?))
    }
}

#[pyclass(name = "Convolution", module = "proprelu._core", frozen)]
struct PyConvolution(Convolution);

#[pymethods]
impl PyConvolution {
    #[new]
    fn new(
        geometry: &PyGeometry,
        weight: PyReadonlyArray4<'_, f64>,
        bias: PyReadonlyArray1<'_, f64>,
    ) -> PyResult<PyConvolution> {
        let (weight, bias) = (weight.as_array().to_owned(), bias.as_array().to_owned());
        Ok(PyConvolution(Convolution::new(geometry.0, weight, bias, None)?))
    }

    #[staticmethod]
    fn norm(
        scale: PyReadonlyArray1<'_, f64>,
        shift: PyReadonlyArray1<'_, f64>,
    ) -> PyResult<PyConvolution> {
        Ok(PyConvolution(Convolution::norm(scale.as_array(), shift.as_array())?))
    }

    #[staticmethod]
    fn identity(channels: usize) -> PyResult<PyConvolution> {
        Ok(PyConvolution(Convolution::identity(channels)?))
    }

    #[getter]
    fn geometry(&self) -> PyGeometry {
        PyGeometry(*self.0.geometry())
    }

    #[getter]
    fn weight<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray4<f64>> {
        self.0.weight().to_pyarray(py)
    }

    #[getter]
    fn bias<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        self.0.bias().to_pyarray(py)
    }

    #[getter]
    fn border<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyArray4<f64>>> {
        self.0.border().map(|border| border.to_pyarray(py))
    }

    fn then(&self, py: Python<'_>, next: &PyConvolution) -> PyResult<PyConvolution> {
        Ok(PyConvolution(py.allow_threads(|| self.0.then(&next.0))?))
    }

    fn beside(&self, other: &PyConvolution) -> PyResult<PyConvolution> {
        Ok(PyConvolution(self.0.beside(&other.0)?))
    }
}

#[pyfunction]
fn decompose_kernel<'py>(
    py: Python<'py>,
    weight: PyReadonlyArray4<'py, f64>,
    variant: &str,
) -> PyResult<Vec<Bound<'py, PyArray4<f64>>>> {
    let variant = match variant {
        "full" => Variant::Full,
        "lean" => Variant::Lean,
        other => {
            let message = format!("variant must be \"full\" or \"lean\", got {other:?}");
            return Err(PyValueError::new_err(message));
        }
    };
    let layers = decompose(weight.as_array(), variant)?;
    Ok(layers.into_iter().map(|layer| layer.into_pyarray(py)).collect())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyGeometry>()?;
    m.add_class::<PyConvolution>()?;
    m.add_function(wrap_pyfunction!(decompose_kernel, m)?)
}
