//! `TrainState`: the state of a training, and the training loop.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3_tch::PyTensor;
use tch::Tensor;

use super::engine_runner::EngineRunner;
use super::graphs::PythonGraphs;
use super::observer::PythonObserver;
use super::python_batches::PythonBatches;
use super::python_runner::PythonRunner;
use super::raised::Raised;
use crate::optim::schedule::Schedule;
use crate::optim::{Ema, Optimizer};
use crate::python::cuda::CudaDevice;
use crate::python::data::Loader;
use crate::python::plain::{from_python, to_python};
use crate::train::cuda::{self, CudaStepper, SingleUpdate};
use crate::train::{
    self, checkpoint, memory, Batches, FitOptions, HostStepper, LoaderBatches, Observer, Runner,
    State, Updates,
};

/// Counters as a dict, and tensors by name.
type Memory<'py> = (Bound<'py, PyAny>, Vec<(String, PyTensor)>);

#[pyclass(frozen, module = "proprelu._core")]
pub struct TrainState {
    inner: Arc<Mutex<State>>,
}

#[pymethods]
impl TrainState {
    #[new]
    #[pyo3(signature = (parameters, buffers, ema=None))]
    fn new(
        parameters: Vec<(String, PyTensor, Bound<'_, PyAny>)>,
        buffers: Vec<(String, PyTensor)>,
        ema: Option<Bound<'_, PyAny>>,
    ) -> PyResult<TrainState> {
        let ema: Option<Ema> = ema.map(|ema| from_python("ema", &ema)).transpose()?;
        if let Some(ema) = &ema {
            ema.validate()?;
        }
        let parameters = parameters
            .into_iter()
            .map(|(name, tensor, settings)| {
                let optimizer: Optimizer = from_python("optimizer", &settings)?;
                optimizer.validate()?;
                Ok((name, shared(&tensor)?, optimizer))
            })
            .collect::<PyResult<Vec<_>>>()?;
        let buffers = buffers
            .into_iter()
            .map(|(name, tensor)| Ok((name, shared(&tensor)?)))
            .collect::<PyResult<Vec<_>>>()?;
        let state = State::new(parameters, buffers, ema)?;
        Ok(TrainState { inner: Arc::new(Mutex::new(state)) })
    }

    #[pyo3(signature = (runner, train, val, observer, *, epochs, schedule, schedule_epochs=None, clip_grad_norm=None, checkpoint=None, facts=None, graphs=None, resident=true, device=None))]
    #[allow(clippy::too_many_arguments)]
    fn fit(
        &self,
        py: Python<'_>,
        runner: &Bound<'_, PyAny>,
        train: &Bound<'_, PyAny>,
        val: Option<&Bound<'_, PyAny>>,
        observer: Option<Py<PyAny>>,
        epochs: u64,
        schedule: &Bound<'_, PyAny>,
        schedule_epochs: Option<(u64, u64)>,
        clip_grad_norm: Option<f64>,
        checkpoint: Option<PathBuf>,
        facts: Option<Bound<'_, PyAny>>,
        graphs: Option<Py<PyAny>>,
        resident: bool,
        device: Option<&CudaDevice>,
    ) -> PyResult<()> {
        let schedule: Schedule = from_python("schedule", schedule)?;
        let (begin, end) = schedule_epochs.unwrap_or((0, epochs));
        let facts = facts.map(|facts| from_python("facts", &facts)).transpose()?;
        let facts = facts.unwrap_or_default();
        let schedule_epochs = begin..end;
        let options = FitOptions { epochs, schedule, schedule_epochs, checkpoint, facts };
        let runner = AnyRunner::new(runner)?;
        let raised = runner.raised();
        let train = Data::new(train, &raised)?;
        let val = val.map(|val| Data::new(val, &raised)).transpose()?;
        let mut observer = PythonObserver { object: observer, raised: raised.clone() };
        let target = device.map(CudaDevice::target);
        let mut graphs = graphs.map(|object| PythonGraphs { object, raised: raised.clone() });
        let result = py.allow_threads(|| {
            let state = &mut *self.lock()?;
            if let Some(mut runner) = runner.on_cuda()? {
                let graphs = graphs.as_mut().map(|graphs| graphs as &mut dyn cuda::Graphs);
                let (train, val) = (train.source(), val.map(Data::source));
                let settings = cuda::Options { clip_grad_norm, resident };
                let stepper = CudaStepper::new(&mut runner, state, train, val, graphs, &settings);
                return Ok(stepper.and_then(|mut stepper| {
                    train::fit(state, &mut stepper, &options, &mut observer)
                }));
            }
            let (train, val) = (train.batches(), val.map(Data::batches));
            let updates = match &target {
                Some(target) => {
                    let update = SingleUpdate::new(state, clip_grad_norm, target)?;
                    Updates::Device(Box::new(update))
                }
                None => Updates::Host { clip_grad_norm },
            };
            runner.with(|runner| {
                let mut stepper = HostStepper::new(runner, train, val, updates);
                train::fit(state, &mut stepper, &options, &mut observer)
            })
        });
        raised.release(result?)
    }

    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        runner: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let runner = AnyRunner::new(runner)?;
        let raised = runner.raised();
        let data = Data::new(data, &raised)?;
        let mut observer = PythonObserver { object: None, raised: raised.clone() };
        let result = py.allow_threads(|| {
            let mut state = self.lock()?;
            if let (Some(mut runner), Data::Loader(loader)) = (runner.on_cuda()?, &data) {
                if cuda::Evaluation::supports(&runner) {
                    let evaluation = cuda::Evaluation::new(loader.clone(), &mut runner, None);
                    return Ok(evaluation.and_then(|mut evaluation| {
                        evaluation.run(&mut runner, &mut state, &mut None, &mut observer)
                    }));
                }
            }
            let mut data = data.batches();
            runner.with(|runner| train::evaluate(&mut state, runner, data.as_mut(), &mut observer))
        });
        to_python(py, &raised.release(result?)?)
    }

    fn predict(
        &self,
        py: Python<'_>,
        runner: &Bound<'_, PyAny>,
        images: PyTensor,
    ) -> PyResult<PyTensor> {
        let runner = AnyRunner::new(runner)?;
        let raised = runner.raised();
        let images = images.0;
        let mut observer = PythonObserver { object: None, raised: raised.clone() };
        let result = py.allow_threads(move || {
            let mut state = self.lock()?;
            runner.with(|runner| {
                runner.parameters_changed();
                let images = crate::engine::memory::to_channels_last(&images)?;
                state.with_averages(|state| runner.predict(&images, state, &mut || observer.poll()))
            })
        });
        Ok(PyTensor(raised.release(result?)?))
    }

    /// The facts that were given to the training which wrote a checkpoint.
    #[staticmethod]
    fn read_facts<'py>(py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &py.allow_threads(|| checkpoint::read_facts(&path))?)
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.allow_threads(|| Ok(checkpoint::save(&path, &*self.lock()?, &Default::default())?))
    }

    fn load(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.allow_threads(|| Ok(checkpoint::load(&path, &mut *self.lock()?)?))
    }

    /// What a later training of the same model can begin with: the counters, and the tensors of
    /// the optimizer and the averages by name, sharing memory with the state.
    fn memory<'py>(&self, py: Python<'py>) -> PyResult<Memory<'py>> {
        let state = self.lock()?;
        let (counters, tensors) = memory::memory(&state);
        let tensors = tensors.into_iter().map(|(name, tensor)| (name, PyTensor(tensor))).collect();
        Ok((to_python(py, &counters)?, tensors))
    }

    /// Begins where another training ended. The state is unchanged if anything does not fit.
    fn go_on(&self, counters: &Bound<'_, PyAny>, tensors: Vec<(String, PyTensor)>) -> PyResult<()> {
        let counters: memory::Counters = from_python("counters", counters)?;
        let tensors = tensors.into_iter().map(|(name, tensor)| (name, tensor.0)).collect();
        Ok(memory::go_on(&mut *self.lock()?, counters, &tensors)?)
    }

    /// The averaged parameters by name, sharing memory with the state.
    fn averages(&self) -> PyResult<Vec<(String, PyTensor)>> {
        let state = self.lock()?;
        let average = |parameter: &train::Parameter| {
            let tensor = parameter.average.as_ref()?.shallow_clone();
            Some((parameter.name.clone(), PyTensor(tensor)))
        };
        Ok(state.parameters.iter().filter_map(average).collect())
    }

    /// The finished epochs.
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.lock()?.rows)
    }

    #[getter]
    fn step(&self) -> PyResult<u64> {
        Ok(self.lock()?.step)
    }

    #[getter]
    fn epoch(&self) -> PyResult<u64> {
        Ok(self.lock()?.epoch)
    }
}

impl TrainState {
    fn lock(&self) -> PyResult<MutexGuard<'_, State>> {
        self.inner.try_lock().map_err(|_| {
            PyRuntimeError::new_err(
                "the trainer is busy: wait until fit, evaluate or predict returns",
            )
        })
    }
}

enum AnyRunner {
    Engine(Arc<Mutex<train::EngineRunner>>, Raised),
    Python(Py<PyAny>, Raised),
}

impl AnyRunner {
    fn new(object: &Bound<'_, PyAny>) -> PyResult<AnyRunner> {
        match object.downcast::<EngineRunner>() {
            Ok(runner) => {
                let runner = runner.get();
                Ok(AnyRunner::Engine(runner.inner.clone(), runner.raised.clone()))
            }
            Err(_) => Ok(AnyRunner::Python(object.clone().unbind(), Raised::default())),
        }
    }

    fn raised(&self) -> Raised {
        match self {
            AnyRunner::Engine(_, raised) | AnyRunner::Python(_, raised) => raised.clone(),
        }
    }

    /// The runner, if it runs on CUDA.
    fn on_cuda(&self) -> PyResult<Option<MutexGuard<'_, train::EngineRunner>>> {
        let AnyRunner::Engine(runner, _) = self else { return Ok(None) };
        let runner = runner.try_lock().map_err(|_| running())?;
        Ok(runner.target().cuda.is_some().then_some(runner))
    }

    fn with<T>(self, body: impl FnOnce(&mut dyn Runner) -> T) -> PyResult<T> {
        match self {
            AnyRunner::Engine(runner, _) => match runner.try_lock() {
                Ok(mut runner) => Ok(body(&mut *runner)),
                Err(_) => Err(running()),
            },
            AnyRunner::Python(object, raised) => Ok(body(&mut PythonRunner { object, raised })),
        }
    }
}

fn running() -> PyErr {
    PyRuntimeError::new_err("the captured program is already running")
}

/// Our own loader, or batches from Python.
enum Data {
    Loader(crate::data::Loader),
    Python(PythonBatches),
}

impl Data {
    fn new(object: &Bound<'_, PyAny>, raised: &Raised) -> PyResult<Data> {
        match object.downcast::<Loader>() {
            Ok(loader) => Ok(Data::Loader(loader.get().inner.clone())),
            Err(_) => Ok(Data::Python(PythonBatches::new(object, raised)?)),
        }
    }

    fn batches(self) -> Box<dyn Batches> {
        match self {
            Data::Loader(loader) => Box::new(LoaderBatches::new(loader)),
            Data::Python(batches) => Box::new(batches),
        }
    }

    fn source(self) -> cuda::Source {
        match self {
            Data::Loader(loader) => cuda::Source::Loader(loader),
            Data::Python(batches) => cuda::Source::Batches(Box::new(batches)),
        }
    }
}

/// A tensor that shares the memory, without autograd.
fn shared(tensor: &PyTensor) -> PyResult<Tensor> {
    Ok(tensor.f_detach().map_err(crate::error::Error::from)?)
}
