//! Properties of merged convolutions, against the definition.

mod case;
mod properties;
