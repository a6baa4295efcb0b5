//! One update of all parameters and averages, distributed to threads.

use tch::Tensor;

use super::state::{Parameter, State};
use crate::engine::memory::{slice, slice_mut};
use crate::engine::AtenPool;
use crate::error::Result;
use crate::optim::{clip, Pass, Shadows, Target, Update};

/// Updates the parameters that have a gradient, then all averages. `factor` is the schedule's
/// factor of the step.
pub fn update(
    state: &mut State,
    gradients: &[Option<Tensor>],
    factor: f64,
    clip_grad_norm: Option<f64>,
    shadows: &dyn Shadows,
) -> Result<()> {
    let State { parameters, pieces, ema, step, .. } = state;
    let laid_out = |(parameter, gradient): (&Parameter, &Option<Tensor>)| {
        gradient.as_ref().map(|gradient| laid_out_as(&parameter.tensor, gradient)).transpose()
    };
    let gradients = parameters.iter().zip(gradients).map(laid_out).collect::<Result<Vec<_>>>()?;
    let targets = parameters
        .iter_mut()
        .zip(&gradients)
        .map(|(parameter, gradient)| target(parameter, gradient.as_ref(), factor))
        .collect::<Result<Vec<_>>>()?;
    let pass = Pass::new(pieces, targets, ema.map_or(1.0, |ema| ema.decay_at(*step + 1)))?;
    let coefficient = match clip_grad_norm {
        Some(max_norm) => clip::coefficient(pass.norm(&AtenPool)?, max_norm),
        None => 1.0,
    };
    pass.step(coefficient, shadows, &AtenPool)
}

/// The gradient in the memory order of its parameter.
fn laid_out_as(parameter: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let same = gradient.stride() == parameter.stride()
        && gradient.size() == parameter.size()
        && gradient.f_kind()? == parameter.f_kind()?;
    if same {
        return Ok(gradient.shallow_clone());
    }
    let mut copy = parameter.f_empty_like()?;
    copy.f_copy_(gradient)?;
    Ok(copy)
}

fn target<'a>(
    parameter: &'a mut Parameter,
    gradient: Option<&'a Tensor>,
    factor: f64,
) -> Result<Target<'a>> {
    let Parameter { tensor, optimizer, state, average, updates, .. } = parameter;
    let update = match gradient {
        None => None,
        Some(gradient) => {
            *updates += 1;
            let state = state.iter_mut().map(slice_mut).collect::<Result<_>>()?;
            let (lr, number, grad) = (optimizer.lr() * factor, *updates, slice(gradient)?);
            Some(Update { optimizer, lr, number, grad, state })
        }
    };
    let average = average.as_mut().map(slice_mut).transpose()?;
    Ok(Target { param: slice_mut(tensor)?, update, average })
}
