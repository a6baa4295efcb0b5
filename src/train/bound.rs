//! A captured program and the tensors that are bound to its inputs.

use tch::{Kind, Tensor};

use super::state::State;
use crate::engine::{Engine, Poll, Results};
use crate::error::{Error, Result};
use crate::program::{Input, Role};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Step,
    Inference,
}

/// A program and the tensors that its trace lifted out of the model.
pub struct Bound<'a> {
    pub engine: &'a mut Engine,
    pub constants: &'a [(String, Tensor)],
}

impl Bound<'_> {
    pub fn run(
        &mut self,
        batch: &[&Tensor],
        state: &State,
        poll: &mut Poll<'_>,
    ) -> Result<Results> {
        let first_of_batch = self.first_of_batch();
        let constants = self.constants;
        let bind =
            |index, input: &Input| bind(index, input, first_of_batch, constants, batch, state);
        self.engine.run(&bind, poll)
    }

    /// Makes the shadows of the parameters anew.
    pub fn refresh_shadows(&mut self, batch: &[&Tensor], state: &State) -> Result<()> {
        let first_of_batch = self.first_of_batch();
        let constants = self.constants;
        let bind =
            |index, input: &Input| bind(index, input, first_of_batch, constants, batch, state);
        self.engine.refresh_shadows(&bind)
    }

    /// The batch size of the program and the type of its images.
    pub fn batch(&self) -> Result<(i64, Kind)> {
        let program = self.engine.program();
        let info = program.inputs.get(self.first_of_batch());
        let info = info.map(|input| &program.values[input.value.0]);
        let missing = || Error::Capture("the program takes no images".into());
        let info = info.ok_or_else(missing)?;
        Ok((info.shape.first().copied().unwrap_or(1).max(1), info.dtype.into()))
    }

    /// The shape of the images.
    pub fn images_shape(&self) -> Vec<i64> {
        self.batch_shapes().next().cloned().unwrap_or_default()
    }

    /// Whether the tensors of a batch have the shapes that were captured.
    pub fn fits(&self, batch: &[&Tensor]) -> bool {
        // A loss may read no labels, which the graph then lacks.
        self.batch_shapes().zip(batch).all(|(shape, tensor)| *shape == tensor.size())
    }

    fn batch_shapes(&self) -> impl Iterator<Item = &Vec<i64>> {
        let program = self.engine.program();
        let batch = program.inputs.iter().filter(|input| input.role == Role::Batch);
        batch.map(|input| &program.values[input.value.0].shape)
    }

    fn first_of_batch(&self) -> usize {
        let inputs = &self.engine.program().inputs;
        inputs.iter().position(|input| input.role == Role::Batch).unwrap_or(inputs.len())
    }
}

fn bind(
    index: usize,
    input: &Input,
    first_of_batch: usize,
    constants: &[(String, Tensor)],
    batch: &[&Tensor],
    state: &State,
) -> Result<Tensor> {
    let tensor = match input.role {
        Role::Batch => batch.get(index - first_of_batch).copied(),
        Role::Constant => {
            constants.iter().find(|(name, _)| *name == input.name).map(|(_, tensor)| tensor)
        }
        Role::Parameter | Role::Buffer => state.tensor(&input.name),
    };
    tensor.map(Tensor::shallow_clone).ok_or_else(|| missing(input))
}

fn missing(input: &Input) -> Error {
    Error::Capture(format!("nothing is bound to input {}", input.name))
}
