//! The forward and the gradient of the input as one computation: a padded, strided or dilated
//! correlation of a source with a packed weight.
//!
//! A [`pass`] divides the work into tasks ([`plan`]). A [`task`] has the tiles of its thread as long
//! as it runs. It takes one *unit* after the other, a band of output rows of one or more images: it
//! copies the source pixels of the unit into its scratch ([`staging`], [`layout`]), or has done so
//! between the products of the unit before ([`ahead`]), and runs the [`microkernel`] over the
//! *strips* of the unit, the output rows of one phase ([`staged`], [`strip`], [`outputs`]). The
//! [`epilogue`] stores each tile.

mod ahead;
mod epilogue;
mod layout;
mod microkernel;
mod operands;
mod outputs;
mod pass;
mod plan;
mod staged;
mod staging;
mod strip;
mod task;

pub(super) use operands::Correlation;
pub(super) use plan::Plan;
