//! Convolutions computed by torch, where that is faster than our kernels.

use tch::{Kind, Tensor};

use crate::activation::Activation;
use crate::engine::call::{self, Fallback};
use crate::engine::memory::empty_channels_last;
use crate::engine::values::Outputs;
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::Geometry;
use crate::program::{Arg, Call, ValueId, Window};

pub fn forward(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<Tensor>,
    window: &Window,
) -> Result<Tensor> {
    let bias = bias.map(|bias| bias.f_to_kind(x.f_kind()?)).transpose()?;
    let bias = bias.map(|bias| repeated(&bias, window.num_blocks)).transpose()?;
    let mut args = vec![tensor(0), tensor(1), optional(bias.as_ref().map(|_| tensor(2)))];
    args.extend(numbers(window));
    let tensors: Vec<&Tensor> = [x, weight].into_iter().chain(&bias).collect();
    first(run("aten::convolution", args, 1, &tensors)?)
}

/// A weight with each output channel multiplied by its scale.
pub fn scaled(weight: &Tensor, scale: Option<&[f32]>) -> Result<Tensor> {
    let Some(scale) = scale else { return Ok(weight.shallow_clone()) };
    Ok(weight.f_mul(&Tensor::from_slice(scale).f_view([-1, 1, 1, 1])?)?)
}

/// A weight or a bias that blocks share, repeated for each of them.
pub fn repeated(shared: &Tensor, num_blocks: usize) -> Result<Tensor> {
    if num_blocks == 1 {
        return Ok(shared.shallow_clone());
    }
    Ok(Tensor::f_cat(&vec![shared; num_blocks], 0)?)
}

/// The sum of a gradient over the blocks.
fn summed(gradient: &Tensor, num_blocks: usize) -> Result<Tensor> {
    if num_blocks == 1 {
        return Ok(gradient.shallow_clone());
    }
    let parts = gradient.f_chunk(num_blocks as i64, 0)?;
    Ok(Tensor::f_stack(&parts, 0)?.f_sum_dim_intlist(0, false, Kind::Float)?)
}

/// Adds the residual and applies the activation, as our kernels do while they store.
pub fn finished(y: Tensor, residual: Option<Tensor>, activation: Activation) -> Result<Tensor> {
    let mut y = y;
    if let Some(residual) = residual {
        y = y.f_add_(&residual)?;
    }
    let Activation { slope, max } = activation;
    if activation == Activation::IDENTITY {
        return Ok(y);
    }
    if slope == 0.0 {
        return Ok(y.f_clamp_(0.0, f64::from(max))?);
    }
    let below = y.f_clamp_max(0.0)?.f_mul_scalar(f64::from(slope))?;
    Ok(y.f_clamp_(0.0, f64::from(max))?.f_add_(&below)?)
}

pub fn grad_input(
    geometry: &Geometry,
    grad_y: &Tensor,
    weight: &Tensor,
    window: &Window,
) -> Result<Tensor> {
    // torch reads only the shape of x.
    let [height, width] = geometry.in_size;
    let size = [geometry.batch, geometry.in_channels, height, width].map(|n| n as i64).to_vec();
    let x = empty_channels_last(size, grad_y.f_kind()?, grad_y.device())?;
    first(backward(grad_y, &x, weight, window, [true, false, false])?)
}

/// The gradients of weight and bias, in fp32.
pub fn grad_weight(
    geometry: &Geometry,
    grad_y: &Tensor,
    x: &Tensor,
    window: &Window,
    with_bias: bool,
) -> Result<[Option<Tensor>; 2]> {
    // torch reads only the shape of the weight.
    let [height, width] = geometry.kernel_size;
    let per_group = geometry.in_channels / geometry.groups;
    let size = [geometry.out_channels, per_group, height, width].map(|n| n as i64).to_vec();
    let weight = empty_channels_last(size, x.f_kind()?, x.device())?;
    let results = backward(grad_y, x, &weight, window, [false, true, with_bias])?;
    let in_fp32 = |gradient: &Option<Tensor>| -> Result<Option<Tensor>> {
        let Some(gradient) = gradient else { return Ok(None) };
        Ok(Some(summed(&gradient.f_to_kind(Kind::Float)?, window.num_blocks)?))
    };
    match results.as_slice() {
        [_, weight, bias] => Ok([in_fp32(weight)?, in_fp32(bias)?]),
        _ => Err(Error::Capture("a convolution's backward gave no three results".into())),
    }
}

fn backward(
    grad_y: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    window: &Window,
    mask: [bool; 3],
) -> Result<Outputs> {
    let bias_sizes = Arg::List(vec![Arg::Int(weight.size()[0])]);
    let mut args = vec![tensor(0), tensor(1), tensor(2), optional(Some(bias_sizes))];
    args.extend(numbers(window));
    args.push(Arg::List(mask.map(Arg::Bool).to_vec()));
    run("aten::convolution_backward", args, 3, &[grad_y, x, weight])
}

/// The arguments stride, padding, dilation, transposed, output_padding and groups.
fn numbers(window: &Window) -> [Arg; 6] {
    let pair = |pair: [usize; 2]| Arg::List(pair.map(|n| Arg::Int(n as i64)).to_vec());
    let Window { stride, padding, dilation, groups, .. } = *window;
    let groups = Arg::Int(groups as i64);
    [pair(stride), pair(padding), pair(dilation), Arg::Bool(false), pair([0, 0]), groups]
}

/// An argument that stands for the tensor of this number in the list of tensors.
fn tensor(number: usize) -> Arg {
    Arg::Tensor(ValueId(number))
}

fn optional(arg: Option<Arg>) -> Arg {
    arg.map_or(Arg::None, |arg| Arg::Some(Box::new(arg)))
}

fn run(name: &str, args: Vec<Arg>, results: usize, tensors: &[&Tensor]) -> Result<Outputs> {
    let (name, overload) = (name.to_owned(), String::new());
    let call = Call { name, overload, args, returns_list: false, draws: false };
    let lookup = |value: ValueId| Ok(tensors[value.0].shallow_clone());
    call::run(&call, results, &lookup, &NoScalars, tensors[0].device())
}

fn first(outputs: Outputs) -> Result<Tensor> {
    let missing = || Error::Capture("a convolution gave no result".into());
    outputs.into_iter().next().flatten().ok_or_else(missing)
}

/// Convolutions have no argument that needs the fallback.
struct NoScalars;

impl Fallback for NoScalars {
    fn call(&self, call: &Call, _: &crate::engine::Lookup<'_>) -> Result<Outputs> {
        Err(Error::Capture(format!("{} has a Scalar", call.name)))
    }
}
