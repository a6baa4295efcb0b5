//! The kernels against the textbook formulas in f64.

mod case;
mod formulas;
mod known;
