//! Learning-rate schedules: a multiplier of the base rate for each optimizer step.

mod constant;
mod cosine;
mod one_cycle;
mod step;
mod unit;

#[allow(clippy::module_inception)]
mod schedule;

pub use constant::Constant;
pub use cosine::Cosine;
pub use one_cycle::{Anneal, OneCycle};
pub use schedule::{Schedule, Warmup};
pub use step::StepDecay;
pub use unit::Unit;
