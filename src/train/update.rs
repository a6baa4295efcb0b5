//! One optimizer step over all parameters, shared among the threads in pieces.

use std::sync::Mutex;

use tch::Tensor;

use super::state::{Parameter, State};
use crate::engine::memory::{slice, slice_mut};
use crate::engine::parallel_for;
use crate::error::{Error, Result};
use crate::optim::{clip, Optimizer};

/// Elements in a piece: small enough to share the work, large enough not to notice the sharing.
const PIECE: usize = 1 << 16;

/// Updates the parameters that have a gradient. `factor` is the schedule's.
pub fn update(
    state: &mut State,
    gradients: &mut [Option<Tensor>],
    factor: f64,
    clip_grad_norm: Option<f64>,
) -> Result<()> {
    for (parameter, gradient) in state.parameters.iter().zip(gradients.iter_mut()) {
        if let Some(gradient) = gradient {
            *gradient = laid_out_as(&parameter.tensor, gradient)?;
        }
    }
    if let Some(max_norm) = clip_grad_norm {
        clip_gradients(gradients, max_norm)?;
    }
    let mut pieces = Vec::new();
    for (parameter, gradient) in state.parameters.iter_mut().zip(&*gradients) {
        if let Some(gradient) = gradient {
            parameter.updates += 1;
            cut(parameter, gradient, factor, &mut pieces)?;
        }
    }
    let failure = Mutex::new(None);
    parallel_for(pieces.len(), &|index| {
        // Each piece is taken once, so nobody waits here.
        let Ok(mut piece) = pieces[index].lock() else { return };
        if let (Err(error), Ok(mut first)) = (piece.step(), failure.lock()) {
            first.get_or_insert(error);
        }
    });
    match failure.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error),
        Err(_) => Err(Error::Torch("the optimizer's threads failed".into())),
    }
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

fn clip_gradients(gradients: &mut [Option<Tensor>], max_norm: f64) -> Result<()> {
    let mut total = 0.0;
    for gradient in gradients.iter().flatten() {
        total += clip::squared_norm(slice(gradient)?);
    }
    let coefficient = clip::coefficient(total.sqrt(), max_norm);
    for gradient in gradients.iter_mut().flatten() {
        slice_mut::<f32>(gradient)?.iter_mut().for_each(|value| *value *= coefficient);
    }
    Ok(())
}

struct Piece<'a> {
    optimizer: &'a Optimizer,
    lr: f64,
    updates: u64,
    param: &'a mut [f32],
    grad: &'a [f32],
    state: Vec<&'a mut [f32]>,
}

impl Piece<'_> {
    fn step(&mut self) -> Result<()> {
        self.optimizer.step(self.lr, self.updates, self.param, self.grad, &mut self.state)
    }
}

fn cut<'a>(
    parameter: &'a mut Parameter,
    gradient: &'a Tensor,
    factor: f64,
    pieces: &mut Vec<Mutex<Piece<'a>>>,
) -> Result<()> {
    let Parameter { tensor, optimizer, state, updates, .. } = parameter;
    let lr = optimizer.lr() * factor;
    let grads = slice::<f32>(gradient)?.chunks(PIECE);
    let mut states = state
        .iter_mut()
        .map(|tensor| Ok(slice_mut::<f32>(tensor)?.chunks_mut(PIECE)))
        .collect::<Result<Vec<_>>>()?;
    for (param, grad) in slice_mut::<f32>(tensor)?.chunks_mut(PIECE).zip(grads) {
        let state = states.iter_mut().filter_map(Iterator::next).collect();
        pieces.push(Mutex::new(Piece { optimizer, lr, updates: *updates, param, grad, state }));
    }
    Ok(())
}
