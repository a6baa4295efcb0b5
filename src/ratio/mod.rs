//! The decision which ReLUs stay: integers only, no model, no tensor.
//!
//! A network comes as a list of [`Site`]s in execution order; [`Plan::new`] says for each whether
//! it keeps its ReLU, and why. The placements are our interpretations of the proportional module
//! (Zhao et al., arXiv 1709.06247) and of EraseReLU (Dong et al., arXiv 1709.07634).

mod placement;
mod plan;
#[allow(clippy::module_inception)]
mod ratio;

pub use placement::Placement;
pub use plan::{Plan, Site};
pub use ratio::Ratio;
