//! Bindings of `data`: the dataset and its loader.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use numpy::ndarray::{ArrayD, IxDyn};
use numpy::{Element, IntoPyArray, PyArray1, PyArrayDyn};
use numpy::{PyReadonlyArray1, PyReadonlyArray4};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use crate::data::cifar::{self, Cifar};
use crate::data::{self, Augment, Batch, EpochBatches, LoaderConfig, MeanStd, Pixels};
use crate::error::Result;
use crate::python::plain::from_python;

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Dataset>()?;
    m.add_class::<Loader>()?;
    m.add_class::<Batches>()
}

#[pyclass(frozen, module = "proprelu._core")]
pub struct Dataset {
    pub(crate) inner: Arc<data::Dataset>,
}

#[pymethods]
impl Dataset {
    #[staticmethod]
    #[pyo3(signature = (images, labels, num_classes=None, mean_std=None))]
    fn from_u8(
        images: PyReadonlyArray4<'_, u8>,
        labels: PyReadonlyArray1<'_, i64>,
        num_classes: Option<usize>,
        mean_std: Option<MeanStd>,
    ) -> PyResult<Self> {
        let (pixels, shape) = copy_images(images);
        build(Pixels::U8(pixels), shape, labels, num_classes, mean_std)
    }

    #[staticmethod]
    #[pyo3(signature = (images, labels, num_classes=None, mean_std=None))]
    fn from_f32(
        images: PyReadonlyArray4<'_, f32>,
        labels: PyReadonlyArray1<'_, i64>,
        num_classes: Option<usize>,
        mean_std: Option<MeanStd>,
    ) -> PyResult<Self> {
        let (pixels, shape) = copy_images(images);
        build(Pixels::F32(pixels), shape, labels, num_classes, mean_std)
    }

    #[staticmethod]
    #[pyo3(signature = (images_path, labels_path, num_classes=None))]
    fn read_idx(
        py: Python<'_>,
        images_path: PathBuf,
        labels_path: PathBuf,
        num_classes: Option<usize>,
    ) -> PyResult<Self> {
        wrap(py.allow_threads(|| data::idx::read(&images_path, &labels_path, num_classes)))
    }

    #[staticmethod]
    fn parse_cifar(
        py: Python<'_>,
        files: Vec<(String, Bound<'_, pyo3::types::PyBytes>)>,
        num_classes: usize,
    ) -> PyResult<Self> {
        let kind = Cifar::with_classes(num_classes)?;
        let files: Vec<(String, &[u8])> =
            files.iter().map(|(name, bytes)| (name.clone(), bytes.as_bytes())).collect();
        wrap(py.allow_threads(|| cifar::parse(&files, kind)))
    }

    fn subset(&self, py: Python<'_>, indices: Vec<isize>) -> PyResult<Self> {
        wrap(py.allow_threads(|| self.inner.subset(&indices)))
    }

    fn mean_std(&self, py: Python<'_>) -> MeanStd {
        py.allow_threads(|| self.inner.mean_std())
    }

    /// The mean and standard deviation that the dataset was created with.
    #[getter]
    fn stated_mean_std(&self) -> Option<MeanStd> {
        self.inner.stated_mean_std().cloned()
    }

    fn images<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.copy_out(py, 0..self.inner.num_images(), &self.inner.shape())
    }

    fn labels<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_slice(py, self.inner.labels())
    }

    #[getter]
    fn shape(&self) -> (usize, usize, usize, usize) {
        self.inner.shape().into()
    }

    #[getter]
    fn nbytes(&self) -> usize {
        self.inner.pixels().nbytes()
    }

    #[getter]
    fn num_classes(&self) -> usize {
        self.inner.num_classes()
    }

    fn __len__(&self) -> usize {
        self.inner.num_images()
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: isize,
    ) -> PyResult<(Bound<'py, PyAny>, i64)> {
        let len = self.inner.num_images();
        let counted = if index < 0 { index + len as isize } else { index };
        let Some(at) = usize::try_from(counted).ok().filter(|&at| at < len) else {
            let message = format!("index must be from -{len} to {}, got {index}", len - 1);
            return Err(PyIndexError::new_err(message));
        };
        let image = self.copy_out(py, at..at + 1, &self.inner.shape()[1..])?;
        Ok((image, self.inner.labels()[at]))
    }

    fn __repr__(&self) -> String {
        let [n, h, w, c] = self.inner.shape();
        let kind = match self.inner.pixels() {
            Pixels::U8(_) => "uint8",
            Pixels::F32(_) => "float32",
        };
        let classes = self.inner.num_classes();
        format!("Dataset({n} {kind} images of {h}x{w}x{c}, {classes} classes)")
    }
}

impl Dataset {
    fn copy_out<'py>(
        &self,
        py: Python<'py>,
        images: std::ops::Range<usize>,
        shape: &[usize],
    ) -> PyResult<Bound<'py, PyAny>> {
        let size = self.inner.image_len();
        let range = images.start * size..images.end * size;
        match self.inner.pixels() {
            Pixels::U8(values) => Ok(to_numpy(py, values[range].to_vec(), shape)?.into_any()),
            Pixels::F32(values) => Ok(to_numpy(py, values[range].to_vec(), shape)?.into_any()),
        }
    }
}

#[pyclass(frozen, module = "proprelu._core")]
pub struct Loader {
    pub(crate) inner: data::Loader,
    /// The epoch of the next `iter()`.
    next_epoch: AtomicU64,
}

#[pymethods]
impl Loader {
    #[new]
    #[pyo3(signature = (dataset, batch_size, *, shuffle=false, drop_last=false, seed=0, augment=None))]
    fn new(
        dataset: &Dataset,
        batch_size: usize,
        shuffle: bool,
        drop_last: bool,
        seed: u64,
        augment: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let augment = augment.map(|settings| from_python("augment", settings)).transpose()?;
        let augment: Augment = augment.unwrap_or_default();
        let config = LoaderConfig { batch_size, shuffle, drop_last, seed, augment };
        let inner = data::Loader::new(dataset.inner.clone(), config)?;
        Ok(Loader { inner, next_epoch: AtomicU64::new(0) })
    }

    fn epoch(&self, epoch: u64) -> PyResult<Batches> {
        Ok(Batches { inner: self.inner.epoch(epoch)? })
    }

    fn __iter__(&self) -> PyResult<Batches> {
        self.epoch(self.next_epoch.fetch_add(1, Ordering::Relaxed))
    }

    fn __len__(&self) -> usize {
        self.inner.num_batches()
    }
}

#[pyclass(module = "proprelu._core")]
pub struct Batches {
    inner: EpochBatches,
}

type PyBatch<'py> = (Bound<'py, PyArrayDyn<f32>>, Bound<'py, PyArray1<i64>>);

#[pymethods]
impl Batches {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<PyBatch<'py>>> {
        let Some(batch) = py.allow_threads(|| self.inner.next()).transpose()? else {
            return Ok(None);
        };
        let Batch { images, labels, len, height, width, channels } = batch;
        let images = to_numpy(py, images, &[len, height, width, channels])?;
        Ok(Some((images, labels.into_pyarray(py))))
    }
}

fn copy_images<T: Element + Copy>(images: PyReadonlyArray4<'_, T>) -> (Vec<T>, [usize; 4]) {
    let view = images.as_array();
    let (n, h, w, c) = view.dim();
    let pixels = view.as_slice().map_or_else(|| view.iter().copied().collect(), <[T]>::to_vec);
    (pixels, [n, h, w, c])
}

fn build(
    pixels: Pixels,
    shape: [usize; 4],
    labels: PyReadonlyArray1<'_, i64>,
    num_classes: Option<usize>,
    mean_std: Option<MeanStd>,
) -> PyResult<Dataset> {
    let labels = labels.as_array().to_vec();
    let dataset = data::Dataset::new(pixels, shape, labels, num_classes)?;
    wrap(match mean_std {
        Some((mean, std)) => dataset.with_mean_std(mean, std),
        None => Ok(dataset),
    })
}

fn wrap(dataset: Result<data::Dataset>) -> PyResult<Dataset> {
    Ok(Dataset { inner: Arc::new(dataset?) })
}

/// Moves the values to NumPy without a copy.
fn to_numpy<'py, T: Element>(
    py: Python<'py>,
    values: Vec<T>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    let array = ArrayD::from_shape_vec(IxDyn(shape), values)
        .map_err(|error| PyValueError::new_err(format!("shape {shape:?}: {error}")))?;
    Ok(array.into_pyarray(py))
}
