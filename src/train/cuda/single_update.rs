//! Updates parameters on the device by gradients that Python computes, step by step.

use tch::Tensor;

use super::tables::Table;
use super::update::{in_layout_of, Update};
use crate::engine::Target;
use crate::error::Result;
use crate::kernels::cuda::augment::Cursor;
use crate::train::State;

pub struct SingleUpdate {
    update: Update,
    cursor: Table<Cursor>,
}

impl SingleUpdate {
    pub fn new(
        state: &State,
        clip_grad_norm: Option<f64>,
        target: &Target,
    ) -> Result<SingleUpdate> {
        let update = Update::new(state, 1, clip_grad_norm, target)?;
        Ok(SingleUpdate { update, cursor: Table::new(1, target)? })
    }

    /// Updates the parameters that have a gradient, then all averages. `factor` is the schedule's.
    pub fn run(&self, state: &mut State, gradients: &[Option<Tensor>], factor: f64) -> Result<()> {
        let laid_out = state.parameters.iter().zip(gradients).map(|(parameter, gradient)| {
            let gradient = gradient.as_ref().map(Tensor::shallow_clone);
            gradient.map(|gradient| in_layout_of(&parameter.tensor, gradient)).transpose()
        });
        let gradients = laid_out.collect::<Result<Vec<_>>>()?;
        let addresses = self.update.addresses(state, None, &gradients, &[])?;
        self.cursor.write(&[Cursor { step: state.step + 1, ..Cursor::default() }])?;
        self.update.set_factors(&[factor])?;
        self.update.write(&addresses)?;
        self.update.launch(&addresses, self.cursor.address())?;
        for (parameter, gradient) in state.parameters.iter_mut().zip(&gradients) {
            parameter.updates += u64::from(gradient.is_some());
        }
        Ok(())
    }
}
