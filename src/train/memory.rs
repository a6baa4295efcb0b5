//! What one training leaves for the next of the same model, without a file: counters, the state of
//! the optimizer, averages.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::checkpoint::tensors;
use super::event::EpochRow;
use super::state::State;
use crate::error::Result;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    step: u64,
    epoch: u64,
    /// The updates of each parameter by name.
    updates: HashMap<String, u64>,
    rows: Vec<EpochRow>,
}

/// The counters, and the tensors of the optimizer and of the averages by name. They share memory
/// with the state.
pub fn memory(state: &State) -> (Counters, Vec<(String, Tensor)>) {
    let updates =
        state.parameters.iter().map(|parameter| (parameter.name.clone(), parameter.updates));
    let (step, epoch, rows) = (state.step, state.epoch, state.rows.clone());
    let counters = Counters { step, epoch, updates: updates.collect(), rows };
    let own = tensors(state).into_iter().filter(|(name, _)| !name.starts_with("model."));
    (counters, own.collect())
}

/// Continues the counting of another training, with its state of the optimizer and its averages
/// where the parameter and the kind of optimizer are the same; other parameters begin anew.
pub fn go_on(
    state: &mut State,
    counters: Counters,
    memory: &HashMap<String, Tensor>,
) -> Result<()> {
    let mut found = HashSet::new();
    for (name, mut tensor) in tensors(state) {
        if let Some(old) = memory.get(&name).filter(|old| old.size() == tensor.size()) {
            tensor.f_copy_(old)?;
            found.insert(name);
        }
    }
    for parameter in &mut state.parameters {
        let mut kinds = parameter.optimizer.state_names().iter();
        let whole =
            kinds.all(|kind| found.contains(&format!("optimizer.{kind}.{}", parameter.name)));
        parameter.updates = match whole {
            true => counters.updates.get(&parameter.name).copied().unwrap_or(0),
            false => 0,
        };
    }
    (state.step, state.epoch, state.rows) = (counters.step, counters.epoch, counters.rows);
    Ok(())
}
