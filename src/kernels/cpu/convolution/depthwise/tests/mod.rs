//! The depthwise kernels against their definition in f64.

mod case;
mod definition;
