//! Decides which ReLUs of a network are kept, from integers alone, without model or tensors.
//!
//! A network is a list of [`Site`]s in execution order, and [`Plan::new`] decides for each whether
//! it keeps its ReLU. The placements are our interpretations of the proportional module (Zhao et
//! al., arXiv 1709.06247) and of EraseReLU (Dong et al., arXiv 1709.07634).

mod budget;
mod placement;
mod plan;
#[allow(clippy::module_inception)]
mod ratio;

pub use budget::{cheapest, Budget, Cheapest, Stretch};
pub use placement::Placement;
pub use plan::{Plan, Site};
pub use ratio::Ratio;
