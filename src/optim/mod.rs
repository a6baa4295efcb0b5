//! What turns gradients into new parameters: optimizers, learning-rate schedules, clipping and
//! averaging, on plain slices. [`Pass`] does it for all parameters at once.

mod adamw;
pub mod clip;
mod ema;
mod optimizer;
mod pass;
mod pieces;
pub mod schedule;
mod setting;
mod sgd;
mod step;

pub use adamw::AdamW;
pub use ema::Ema;
pub use optimizer::Optimizer;
pub use pass::{Pass, Shadows, Target, Update};
pub use pieces::{Extent, Pieces};
pub use schedule::Schedule;
pub use sgd::Sgd;
pub use step::Step;
