//! Which algorithm computes a product of a convolution: the candidates for its geometry, and the
//! tuner, which times them once for each shape and machine and stores the choices on disk.
//!
//! A [`Key`] is all that a choice depends on, [`race`] decides between candidates, [`read`] and its
//! counterpart access the file of the [`Record`]s. The engine runs the kernels and applies the
//! choices.

mod candidates;
mod file;
mod geometry;
mod key;
mod race;
mod tuner;

pub use candidates::{candidates, Multipliers, Preference};
pub use file::{read, Entry};
pub use geometry::{dtype, geometry, Product};
pub use key::{Key, Machine};
pub use race::{race, Contest, Record};
pub use tuner::Tuner;
