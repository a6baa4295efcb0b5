//! The copies that a step's program keeps of parameters, brought up to date by the optimizer.

use super::state::State;
use crate::engine::Engine;
use crate::optim::Shadows;

/// For each parameter of a state the instructions that keep a copy of it in a form of their own.
pub struct Copies {
    keepers: Vec<Vec<usize>>,
    /// Every copy can be brought up to date in rows.
    complete: bool,
}

impl Copies {
    pub fn new(engine: &Engine, state: &State) -> Copies {
        let extents = state.pieces.extents();
        let mut complete = true;
        let keepers = state.parameters.iter().zip(extents).map(|(parameter, extent)| {
            let keepers = engine.keepers(&parameter.name);
            let in_rows = |keeper: &usize| engine.takes_rows(*keeper, &parameter.tensor);
            complete &= keepers.is_empty() || extent.has_rows && keepers.iter().all(in_rows);
            keepers
        });
        Copies { keepers: keepers.collect(), complete }
    }

    /// Somebody who updates the copies in the engine; `None` if some can only be made anew.
    pub fn of<'a>(&'a self, engine: &'a Engine) -> Option<impl Shadows + 'a> {
        self.complete.then_some(Written { keepers: &self.keepers, engine })
    }
}

struct Written<'a> {
    keepers: &'a [Vec<usize>],
    engine: &'a Engine,
}

// SAFETY: shared access goes to `written` alone, which only writes into copies of rows: of each
// row from one thread, as `Shadows` has it, while the borrow keeps the engine from running.
unsafe impl Sync for Written<'_> {}

impl Shadows for Written<'_> {
    fn written(&self, parameter: usize, first: usize, rows: &[f32]) {
        for keeper in self.keepers.get(parameter).into_iter().flatten() {
            // SAFETY: as for `Sync`; `first` is a multiple of 16, as `Shadows` has it.
            unsafe { self.engine.take_rows(*keeper, first, rows) };
        }
    }
}
