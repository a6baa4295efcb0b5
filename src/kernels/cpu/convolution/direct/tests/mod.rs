//! The direct kernels against their definition in f64.

mod case;
mod definition;
mod grad_weight;
