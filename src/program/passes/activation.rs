//! The activations that a fused operation can end in, as torch calls them.

use super::fuse_batch_norm::Graph;
use crate::activation::Activation;
use crate::program::{Arg, Call, Op, ValueId};

/// The gradient of an activation.
pub(super) struct ActivationBackward {
    pub grad: ValueId,
    /// The output of the activation or its input: for these activations either tells the same.
    pub y: ValueId,
    pub activation: Activation,
}

impl Graph<'_> {
    /// The one activation that `before` goes into, if nobody reads it but that and its backward.
    pub(super) fn activation_of(&self, before: ValueId) -> Option<(usize, Activation)> {
        let readers = self.readers(before);
        let (place, activation) =
            readers.iter().find_map(|reader| Some((*reader, self.activation(*reader)?)))?;
        let differentiates = |reader: usize| {
            reader > place
                && self.activation_backward(reader).is_some_and(|backward| {
                    backward.y == before
                        && backward.grad != before
                        && backward.activation == activation
                })
        };
        let fits = readers.iter().all(|reader| *reader == place || differentiates(*reader));
        (fits && !self.is_output(before)).then_some((place, activation))
    }

    fn activation(&self, index: usize) -> Option<Activation> {
        let call = self.any_call(index)?;
        match call.name.as_str() {
            "aten::relu" => Some(Activation::RELU),
            "aten::leaky_relu" => leaky_relu(call.args.get(1)?),
            "aten::hardtanh" => relu6(call.args.get(1..3)?),
            _ => None,
        }
    }

    pub(super) fn activation_backward(&self, index: usize) -> Option<ActivationBackward> {
        let call = self.any_call(index)?;
        let activation = match call.name.as_str() {
            "aten::threshold_backward" if call.args.get(2)?.float()? == 0.0 => Activation::RELU,
            "aten::leaky_relu_backward" => leaky_relu(call.args.get(2)?)?,
            "aten::hardtanh_backward" => relu6(call.args.get(2..4)?)?,
            _ => return None,
        };
        Some(ActivationBackward { grad: call.tensor(0)?, y: call.tensor(1)?, activation })
    }

    fn any_call(&self, index: usize) -> Option<&Call> {
        match &self.program.instructions.get(index)?.op {
            Op::Call(call) if call.overload.is_empty() => Some(call),
            _ => None,
        }
    }
}

/// With a negative slope the output would not tell the sign of the input.
fn leaky_relu(slope: &Arg) -> Option<Activation> {
    let slope = slope.float()? as f32;
    let fits = slope >= 0.0 && slope.is_finite();
    fits.then_some(Activation { slope, max: f32::INFINITY })
}

fn relu6(range: &[Arg]) -> Option<Activation> {
    let range = (range[0].float()?, range[1].float()?);
    (range == (0.0, 6.0)).then_some(Activation::RELU6)
}
