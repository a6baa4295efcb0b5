//! The kernels with tiles against their definition in f64.

mod definition;
mod grad_weight;
