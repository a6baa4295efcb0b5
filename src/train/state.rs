//! The state of a training: parameters, buffers, the optimizer's state, averages and counters.

use std::collections::HashMap;

use tch::Tensor;

use super::event::EpochRow;
use crate::engine::memory::{copy, described, is_dense};
use crate::error::{Error, Result};
use crate::optim::{Ema, Extent, Optimizer, Pieces};

pub struct Parameter {
    pub name: String,
    /// Shares memory with the user's parameter.
    pub tensor: Tensor,
    pub optimizer: Optimizer,
    /// One tensor for each of the optimizer's state names, in the layout of the parameter.
    pub state: Vec<Tensor>,
    pub average: Option<Tensor>,
    /// The number of updates so far; 0 for a parameter that the loss does not reach.
    pub updates: u64,
}

pub struct State {
    pub parameters: Vec<Parameter>,
    pub buffers: Vec<(String, Tensor)>,
    pub ema: Option<Ema>,
    pub step: u64,
    /// Finished epochs.
    pub epoch: u64,
    pub rows: Vec<EpochRow>,
    /// How an update distributes the parameters to threads.
    pub(super) pieces: Pieces,
    by_name: HashMap<String, Place>,
}

#[derive(Clone, Copy)]
enum Place {
    Parameter(usize),
    Buffer(usize),
}

impl State {
    pub fn new(
        parameters: Vec<(String, Tensor, Optimizer)>,
        buffers: Vec<(String, Tensor)>,
        ema: Option<Ema>,
    ) -> Result<State> {
        let parameters = parameters
            .into_iter()
            .map(|(name, tensor, optimizer)| Parameter::new(name, tensor, optimizer, ema.is_some()))
            .collect::<Result<Vec<_>>>()?;
        let pieces = parameters.iter().map(|parameter| extent(&parameter.tensor)).collect();
        let pieces = Pieces::new(pieces);
        let mut by_name = HashMap::new();
        for (index, parameter) in parameters.iter().enumerate() {
            by_name.insert(parameter.name.clone(), Place::Parameter(index));
        }
        for (index, (name, _)) in buffers.iter().enumerate() {
            by_name.insert(name.clone(), Place::Buffer(index));
        }
        let (step, epoch, rows) = (0, 0, Vec::new());
        Ok(State { parameters, buffers, ema, step, epoch, rows, pieces, by_name })
    }

    /// The tensor of a parameter or buffer.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        Some(match self.by_name.get(name)? {
            Place::Parameter(index) => &self.parameters[*index].tensor,
            Place::Buffer(index) => &self.buffers[*index].1,
        })
    }

    pub fn parameter_index(&self, name: &str) -> Option<usize> {
        match self.by_name.get(name)? {
            Place::Parameter(index) => Some(*index),
            Place::Buffer(_) => None,
        }
    }

    /// Runs `body` with the averages in place of the parameters, if there are any.
    pub fn with_averages<T>(&mut self, body: impl FnOnce(&State) -> Result<T>) -> Result<T> {
        self.swap_averages()?;
        let result = body(self);
        self.swap_averages()?;
        result
    }

    fn swap_averages(&mut self) -> Result<()> {
        for parameter in &mut self.parameters {
            if let Some(average) = &mut parameter.average {
                let kept = copy(average)?;
                average.f_copy_(&parameter.tensor)?;
                parameter.tensor.f_copy_(&kept)?;
            }
        }
        Ok(())
    }
}

/// The memory of a dense tensor.
fn extent(tensor: &Tensor) -> Extent {
    let numel = tensor.numel();
    match (tensor.size().first(), tensor.stride().first()) {
        (Some(&rows), Some(&stride)) if numel > 0 => {
            let (rows, row) = (rows as usize, numel / rows as usize);
            match rows == 1 || stride as usize == row {
                true => Extent::rows(rows, row),
                false => Extent::flat(numel),
            }
        }
        _ => Extent::flat(numel),
    }
}

impl Parameter {
    fn new(
        name: String,
        tensor: Tensor,
        optimizer: Optimizer,
        averaged: bool,
    ) -> Result<Parameter> {
        if tensor.f_kind()? != tch::Kind::Float || !is_dense(&tensor) {
            let got = described(&tensor)?;
            return Err(Error::ParameterMemory { name, got });
        }
        let zeros = || Ok(tensor.f_zeros_like()?);
        let state = optimizer.state_names().iter().map(|_| zeros()).collect::<Result<_>>()?;
        let average = averaged.then(|| copy(&tensor)).transpose()?;
        Ok(Parameter { name, tensor, optimizer, state, average, updates: 0 })
    }
}
