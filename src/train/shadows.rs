//! The shadows of parameters in a step's program, updated by the optimizer.

use super::state::State;
use crate::engine::Engine;
use crate::optim::Shadows;

/// For each parameter of a state the instructions that keep a shadow of it.
pub struct ShadowTable {
    instructions: Vec<Vec<usize>>,
    /// Every shadow can be updated by rows.
    complete: bool,
}

impl ShadowTable {
    pub fn new(engine: &Engine, state: &State) -> ShadowTable {
        let extents = state.pieces.extents();
        let mut complete = true;
        let instructions = state.parameters.iter().zip(extents).map(|(parameter, extent)| {
            let instructions = engine.instructions_with_shadow(&parameter.name);
            let by_rows = |index: &usize| engine.updates_by_rows(*index, &parameter.tensor);
            complete &=
                instructions.is_empty() || extent.has_rows && instructions.iter().all(by_rows);
            instructions
        });
        ShadowTable { instructions: instructions.collect(), complete }
    }

    /// The shadows in the engine; `None` if some of them cannot be updated by rows.
    pub fn shadows<'a>(&'a self, engine: &'a Engine) -> Option<impl Shadows + 'a> {
        self.complete.then_some(EngineShadows { instructions: &self.instructions, engine })
    }
}

struct EngineShadows<'a> {
    instructions: &'a [Vec<usize>],
    engine: &'a Engine,
}

// SAFETY: shared access is limited to `update_rows`, which only writes rows of shadows: each row
// from one thread, as `Shadows` demands, while the borrow keeps the engine from running.
unsafe impl Sync for EngineShadows<'_> {}

impl Shadows for EngineShadows<'_> {
    fn update_rows(&self, parameter: usize, first: usize, rows: &[f32]) {
        for index in self.instructions.get(parameter).into_iter().flatten() {
            // SAFETY: as for `Sync`; `Shadows` demands that `first` is a multiple of 16.
            unsafe { self.engine.update_rows(*index, first, rows) };
        }
    }
}
