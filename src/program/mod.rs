//! A training step as a list of typed operations on numbered values. No tensors here.
//!
//! [`Capture`] is the traced graph as Python passes it; [`Program::lower`] turns it into a
//! [`Program`], which the [`passes`] rewrite and the engine runs.

mod arg;
mod attention;
mod capture;
mod convolution;
mod cost;
mod layer_norm;
mod listing;
mod lower;
mod op;
pub mod passes;
#[allow(clippy::module_inception)]
mod program;
mod report;
#[cfg(test)]
mod testing;
mod value;

pub use arg::{Arg, Number};
pub use attention::{Attention, AttentionBackward};
pub use capture::Capture;
pub use convolution::{
    Algorithm, Convolution, ConvolutionGradInput, ConvolutionGradWeight, Fold, Load, Window,
};
pub use cost::Cost;
pub use layer_norm::{LayerNorm, LayerNormBackward};
pub use op::{
    BatchNorm, BatchNormApply, BatchNormBackward, Call, CrossEntropy, Mask, Op, Statistics,
};
pub use program::{Input, Instruction, Outputs, Program, Role};
pub use report::{Report, Row};
pub use value::{Dtype, ValueId, ValueInfo};
