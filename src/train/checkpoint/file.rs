//! The full state of a training in one safetensors file: parameters, buffers, the optimizer's
//! state and averages, with counters, history and the caller's facts in the metadata. It is written
//! whole or not at all, and a damaged one is refused.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};

use super::counters::{Counters, Row, VERSION};
use super::seal;
use crate::engine::dtype_name;
use crate::error::{Error, Result};
use crate::files;
use crate::train::event::EpochRow;
use crate::train::state::State;

/// The key of the counters in the metadata.
const KEY: &str = "proprelu.checkpoint";

/// The same in version 1.
const OLD_KEY: &str = "proprelu";

/// What the caller records about a training.
pub type Facts = Map<String, Value>;

/// Writes the state.
pub fn save(path: &Path, state: &State, facts: &Facts) -> Result<()> {
    let tensors = tensors(state)
        .into_iter()
        .map(|(name, tensor)| Ok((name, Stored::new(&tensor)?)))
        .collect::<Result<Vec<_>>>()?;
    let views = tensors
        .iter()
        .map(|(name, stored)| Ok((name.clone(), stored.view(path)?)))
        .collect::<Result<Vec<_>>>()?;
    let counters = serde_json::to_string(&Counters::of(state, facts))
        .map_err(|error| damaged(path, &error.to_string()))?;
    let metadata =
        HashMap::from([(KEY.to_owned(), counters), (seal::KEY.to_owned(), seal::blank())]);
    let mut bytes = safetensors::serialize(views, &Some(metadata))
        .map_err(|error| damaged(path, &error.to_string()))?;
    seal::seal(&mut bytes).ok_or_else(|| damaged(path, "it has no place for its sum"))?;
    files::write(path, &bytes).map_err(|source| io("write", path, source))
}

/// Reads a checkpoint of the same model and optimizer into the state. The state is unchanged if any
/// part of the file does not fit.
pub fn load(path: &Path, state: &mut State) -> Result<()> {
    let bytes = read_whole(path)?;
    let counters = Counters::read(path, &bytes)?;
    let file =
        SafeTensors::deserialize(&bytes).map_err(|error| damaged(path, &error.to_string()))?;
    let targets = tensors(state);
    let loaded = targets
        .iter()
        .map(|(name, target)| read(path, &file, name, target))
        .collect::<Result<Vec<_>>>()?;
    if file.len() != targets.len() || counters.updates.len() != state.parameters.len() {
        let reason = format!("it holds {} tensors, not {}", file.len(), targets.len());
        return Err(other_model(path, reason));
    }
    for ((_, mut target), source) in targets.into_iter().zip(loaded) {
        target.f_copy_(&source)?;
    }
    for (parameter, updates) in state.parameters.iter_mut().zip(&counters.updates) {
        parameter.updates = *updates;
    }
    (state.step, state.epoch) = (counters.step, counters.epoch);
    state.rows = counters.rows.iter().map(EpochRow::from).collect();
    Ok(())
}

/// The facts that were recorded in a checkpoint.
pub fn read_facts(path: &Path) -> Result<Facts> {
    let bytes = read_whole(path)?;
    Ok(Counters::read(path, &bytes)?.facts)
}

/// The content of a regular file: reading a pipe would block.
fn read_whole(path: &Path) -> Result<Vec<u8>> {
    files::read(path, u64::MAX).map_err(|source| io("read", path, source))
}

impl Counters {
    fn of(state: &State, facts: &Facts) -> Counters {
        Counters {
            version: VERSION,
            step: state.step,
            epoch: state.epoch,
            updates: state.parameters.iter().map(|parameter| parameter.updates).collect(),
            rows: state.rows.iter().map(Row::from).collect(),
            facts: facts.clone(),
        }
    }

    /// The counters of a file that is not damaged.
    fn read(path: &Path, bytes: &[u8]) -> Result<Counters> {
        let damaged = |reason: &str| damaged(path, reason);
        let (_, header) =
            SafeTensors::read_metadata(bytes).map_err(|error| damaged(&error.to_string()))?;
        let found = |key: &str| header.metadata().as_ref()?.get(key);
        let Some(text) = found(KEY) else {
            return Err(match found(OLD_KEY) {
                Some(text) if text.contains("\"updates\"") => old(path),
                _ => damaged("it holds no training state"),
            });
        };
        match seal::is_whole(bytes) {
            Some(true) => (),
            Some(false) => return Err(damaged("its SHA-256 sum is another one")),
            None => return Err(damaged("it has no SHA-256 sum")),
        }
        let counters: Counters =
            serde_json::from_str(text).map_err(|error| damaged(&error.to_string()))?;
        if counters.version != VERSION {
            let reason = format!("it has format {}, not {VERSION}", counters.version);
            return Err(damaged(&reason));
        }
        match counters.contradiction() {
            Some(reason) => Err(damaged(&reason)),
            None => Ok(counters),
        }
    }
}

/// Every tensor of the state by its name in the file.
pub fn tensors(state: &State) -> Vec<(String, Tensor)> {
    let mut tensors = Vec::new();
    for parameter in &state.parameters {
        let name = &parameter.name;
        tensors.push((format!("model.{name}"), parameter.tensor.shallow_clone()));
        for (kind, tensor) in parameter.optimizer.state_names().iter().zip(&parameter.state) {
            tensors.push((format!("optimizer.{kind}.{name}"), tensor.shallow_clone()));
        }
        if let Some(average) = &parameter.average {
            tensors.push((format!("ema.{name}"), average.shallow_clone()));
        }
    }
    for (name, buffer) in &state.buffers {
        tensors.push((format!("model.{name}"), buffer.shallow_clone()));
    }
    tensors
}

/// The elements of a tensor in the order of its dimensions, as the format requires.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    fn new(tensor: &Tensor) -> Result<Stored> {
        let tensor = tensor.f_to_device(Device::Cpu)?.f_contiguous()?;
        let kind = tensor.f_kind()?;
        let dtype = DTYPES.iter().find(|(known, _)| *known == kind).map(|(_, dtype)| *dtype);
        let dtype = dtype.ok_or_else(|| {
            Error::Torch(format!("a checkpoint cannot hold {}", dtype_name(kind)))
        })?;
        let shape = tensor.size().iter().map(|size| *size as usize).collect();
        let mut bytes = vec![0; tensor.numel() * kind.elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
        Ok(Stored { dtype, shape, bytes })
    }

    fn view(&self, path: &Path) -> Result<TensorView<'_>> {
        TensorView::new(self.dtype, self.shape.clone(), &self.bytes)
            .map_err(|error| damaged(path, &error.to_string()))
    }
}

const DTYPES: [(Kind, Dtype); 9] = [
    (Kind::Float, Dtype::F32),
    (Kind::Double, Dtype::F64),
    (Kind::Half, Dtype::F16),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Int64, Dtype::I64),
    (Kind::Int, Dtype::I32),
    (Kind::Int16, Dtype::I16),
    (Kind::Uint8, Dtype::U8),
    (Kind::Bool, Dtype::BOOL),
];

fn read(path: &Path, file: &SafeTensors<'_>, name: &str, target: &Tensor) -> Result<Tensor> {
    let view =
        file.tensor(name).map_err(|_| other_model(path, format!("it has no {}", plain(name))))?;
    let shape: Vec<i64> = view.shape().iter().map(|size| *size as i64).collect();
    let kind = DTYPES.iter().find(|(_, dtype)| *dtype == view.dtype()).map(|(kind, _)| *kind);
    let (expected, expected_kind) = (target.size(), target.f_kind()?);
    if shape != expected {
        let reason = format!("its {} has shape {shape:?}, not {expected:?}", plain(name));
        return Err(other_model(path, reason));
    }
    if kind != Some(expected_kind) {
        let reason = format!("its {} is {:?}, not {expected_kind:?}", plain(name), view.dtype());
        return Err(other_model(path, reason));
    }
    Ok(Tensor::f_from_data_size(view.data(), &shape, target.f_kind()?)?)
}

/// What a tensor with this name in the file is, in the names of the model.
fn plain(name: &str) -> String {
    match name.split_once('.').unwrap_or(("", name)) {
        ("optimizer", rest) => {
            let (kind, name) = rest.split_once('.').unwrap_or((rest, ""));
            format!("optimizer state {kind} of {name}")
        }
        ("ema", name) => format!("average of {name}"),
        (_, name) => name.to_owned(),
    }
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Io { action, path: path.display().to_string(), source }
}

fn damaged(path: &Path, reason: &str) -> Error {
    Error::DamagedCheckpoint { path: path.display().to_string(), reason: reason.to_owned() }
}

fn old(path: &Path) -> Error {
    Error::OldCheckpoint { path: path.display().to_string() }
}

fn other_model(path: &Path, reason: String) -> Error {
    Error::OtherCheckpoint { path: path.display().to_string(), reason }
}
