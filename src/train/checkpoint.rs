//! The full state of a training in one safetensors file: parameters, buffers, the optimizer's
//! state and averages, with counters and history in the metadata. It is written atomically.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::event::EpochRow;
use super::state::State;
use crate::error::{Error, Result};

const KEY: &str = "proprelu";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counters {
    version: u32,
    step: u64,
    epoch: u64,
    /// The updates of each parameter, in the order of the state.
    updates: Vec<u64>,
    rows: Vec<EpochRow>,
}

/// Writes the state to a temporary file, which then replaces `path` in one move.
pub fn save(path: &Path, state: &State) -> Result<()> {
    let tensors = tensors(state)
        .into_iter()
        .map(|(name, tensor)| Ok((name, Stored::new(&tensor)?)))
        .collect::<Result<Vec<_>>>()?;
    let views = tensors
        .iter()
        .map(|(name, stored)| Ok((name.clone(), stored.view(path)?)))
        .collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([(KEY.to_owned(), counters(state, path)?)]);
    let bytes = safetensors::serialize(views, &Some(metadata))
        .map_err(|error| damaged(path, &error.to_string()))?;
    write(path, &bytes)
}

/// Reads a checkpoint of the same model and optimizer into the state. The state is unchanged if any
/// part of the file does not fit.
pub fn load(path: &Path, state: &mut State) -> Result<()> {
    let bytes = fs::read(path).map_err(|source| io("read", path, source))?;
    let (_, header) =
        SafeTensors::read_metadata(&bytes).map_err(|error| damaged(path, &error.to_string()))?;
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
    let text = text.ok_or_else(|| damaged(path, "it holds no training state"))?;
    let counters: Counters =
        serde_json::from_str(text).map_err(|error| damaged(path, &error.to_string()))?;
    if counters.version != VERSION {
        let reason = format!("it has format {}, not {VERSION}", counters.version);
        return Err(damaged(path, &reason));
    }
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
    for (parameter, updates) in state.parameters.iter_mut().zip(counters.updates) {
        parameter.updates = updates;
    }
    (state.step, state.epoch, state.rows) = (counters.step, counters.epoch, counters.rows);
    Ok(())
}

/// Every tensor of the state by its name in the file.
fn tensors(state: &State) -> Vec<(String, Tensor)> {
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

fn counters(state: &State, path: &Path) -> Result<String> {
    let counters = Counters {
        version: VERSION,
        step: state.step,
        epoch: state.epoch,
        updates: state.parameters.iter().map(|parameter| parameter.updates).collect(),
        rows: state.rows.clone(),
    };
    serde_json::to_string(&counters).map_err(|error| damaged(path, &error.to_string()))
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
        let dtype =
            dtype.ok_or_else(|| Error::Torch(format!("a checkpoint cannot hold {kind:?}")))?;
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
    let view = file.tensor(name).map_err(|_| other_model(path, format!("it has no {name}")))?;
    let shape: Vec<i64> = view.shape().iter().map(|size| *size as i64).collect();
    let kind = DTYPES.iter().find(|(_, dtype)| *dtype == view.dtype()).map(|(kind, _)| *kind);
    if shape != target.size() || kind != Some(target.f_kind()?) {
        let expected = target.size();
        return Err(other_model(path, format!("its {name} is {shape:?}, not {expected:?}")));
    }
    Ok(Tensor::f_from_data_size(view.data(), &shape, target.f_kind()?)?)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |source| io("write", path, source);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let mut builder = tempfile::Builder::new();
    // Temporary files are private by default; a checkpoint gets the usual permissions.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Io { action, path: path.display().to_string(), source }
}

fn damaged(path: &Path, reason: &str) -> Error {
    Error::DamagedCheckpoint { path: path.display().to_string(), reason: reason.to_owned() }
}

fn other_model(path: &Path, reason: String) -> Error {
    Error::OtherCheckpoint { path: path.display().to_string(), reason }
}
