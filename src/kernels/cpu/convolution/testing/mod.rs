//! Shared by the tests of algorithms: convolutions with all that their passes take, the definition
//! in f64, and geometries.

mod case;
mod geometries;
mod grad_weight;

pub use case::{check_moments, Case, Noise, Outputs, Passes};
pub use geometries::{activations, any, geometries, geometry, shapes, usual, SMALL};
pub use grad_weight::{GradWeightCall, GradWeightCase, Gradients};
