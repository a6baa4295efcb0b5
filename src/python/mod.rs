//! The bindings: convert, release the GIL, call, map the error. Nothing else.

mod build_info;
mod covariance;
mod cuda;
mod data;
mod error;
mod module;
mod plain;
mod ratio;
mod squeeze_excite;
mod train;
mod tuning;
mod weights;
