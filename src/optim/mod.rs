//! What turns gradients into new parameters: optimizers, learning-rate schedules, clipping and
//! averaging, on plain slices.

mod adamw;
pub mod clip;
pub mod ema;
mod optimizer;
pub mod schedule;
mod setting;
mod sgd;

pub use adamw::AdamW;
pub use optimizer::Optimizer;
pub use schedule::Schedule;
pub use sgd::Sgd;
