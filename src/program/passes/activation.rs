//! Finds the activations that a fused operation can end in, among torch's calls.

use super::graph::Graph;
use crate::activation::Activation;
use crate::program::{Arg, Call, Op, ValueId};

/// The gradient of an activation.
pub(super) struct ActivationBackward {
    pub grad: ValueId,
    /// The output of the activation or its input: the gradient of these activations follows from
    /// either.
    pub y: ValueId,
    pub activation: Activation,
}

impl Graph<'_> {
    /// The activation of `before` and its index, if nothing else but its backward reads `before`.
    pub(super) fn activation_of(&self, before: ValueId) -> Option<(usize, Activation)> {
        let users = self.users(before);
        let (index, activation) =
            users.iter().find_map(|user| Some((*user, self.activation(*user)?)))?;
        let is_backward = |user: usize| {
            user > index
                && self.activation_backward(user).is_some_and(|backward| {
                    backward.y == before
                        && backward.grad != before
                        && backward.activation == activation
                })
        };
        let fits = users.iter().all(|user| *user == index || is_backward(*user));
        (fits && !self.is_output(before)).then_some((index, activation))
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
        match self.op(index) {
            Op::Call(call) if call.overload.is_empty() => Some(call),
            _ => None,
        }
    }
}

/// A negative slope is refused: the sign of the input would not follow from the output.
fn leaky_relu(slope: &Arg) -> Option<Activation> {
    let slope = slope.float()? as f32;
    let fits = slope >= 0.0 && slope.is_finite();
    fits.then_some(Activation { slope, max: f32::INFINITY })
}

fn relu6(range: &[Arg]) -> Option<Activation> {
    let range = (range[0].float()?, range[1].float()?);
    (range == (0.0, 6.0)).then_some(Activation::RELU6)
}
