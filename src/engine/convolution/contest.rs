//! The contest between the algorithms for a convolution, on tensors of its shape.
//!
//! What is timed is all that a step runs if it uses the algorithm: the kernel, and a pass over
//! memory for everything that is fusible around it and that the algorithm does not do on the way.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::Kernel;
use crate::activation::Activation;
use crate::engine::batch_norm;
use crate::engine::memory::{as_channels_last, empty_channels_last, in_memory};
use crate::engine::storage::Storage;
use crate::engine::values::Places;
use crate::error::Result;
use crate::kernels::cpu::convolution::Geometry;
use crate::program::passes::Fusible;
use crate::program::{
    Algorithm, BatchNorm, BatchNormApply, Convolution, ConvolutionGradInput, ConvolutionGradWeight,
    Load, Op, Statistics, ValueId, Window,
};
use crate::tuning::{Contest, Key, Product};

/// The activation of all operations; any costs the same.
const ACTIVATION: Activation = Activation::RELU;

/// The values of the operations.
mod value {
    use super::ValueId;

    pub const X: ValueId = ValueId(0);
    pub const Y: ValueId = ValueId(1);
    pub const WEIGHT: ValueId = ValueId(2);
    /// A number for each input channel.
    pub const CHANNELS: ValueId = ValueId(3);
    /// Something of the shape of the product to add to it.
    pub const OTHER: ValueId = ValueId(4);
    pub const LOADED: ValueId = ValueId(5);
    pub const PRODUCT: ValueId = ValueId(6);
    pub const MOMENTS: ValueId = ValueId(7);
    pub const COUNT: usize = 8;
}

/// One way to compute the convolution for each candidate.
pub struct Kernels {
    tensors: Tensors,
    ways: Vec<Way>,
}

impl Kernels {
    /// Packs the weights and runs each kernel once, untimed.
    pub fn new(key: &Key) -> Result<Kernels> {
        let _no_grad = tch::no_grad_guard();
        let tensors = Tensors::new(key)?;
        let ways = key.candidates.iter().map(|algorithm| {
            let mut way = Way::new(key, *algorithm)?;
            way.kernel.pack(&way.op, &tensors.lookup())?;
            way.run(&tensors)?;
            Ok(way)
        });
        let ways = ways.collect::<Result<_>>()?;
        Ok(Kernels { tensors, ways })
    }
}

impl Contest for Kernels {
    fn run(&mut self, candidate: usize) -> Result<f64> {
        let _no_grad = tch::no_grad_guard();
        let start = Instant::now();
        self.ways[candidate].run(&self.tensors)?;
        Ok(start.elapsed().as_secs_f64())
    }
}

/// An algorithm with the passes that it entails.
struct Way {
    kernel: Kernel,
    op: Op,
    /// The pass before the kernel.
    apply: Option<BatchNormApply>,
    /// The kernel computes moments.
    gives_moments: bool,
    /// The pass after the kernel.
    moments: Option<BatchNorm>,
}

impl Way {
    fn new(key: &Key, algorithm: Algorithm) -> Result<Way> {
        let kernel = Kernel::new(key.product, key.geometry, key.dtype, algorithm)?;
        let Fusible { load, moments, .. } = key.fusible;
        let takes_load = load && algorithm.takes_load();
        let gives_moments = moments && algorithm.gives_moments();
        Ok(Way {
            kernel,
            op: op(key, takes_load),
            apply: (load && !takes_load).then(apply),
            gives_moments,
            moments: (moments && !gives_moments).then(moments_pass),
        })
    }

    fn run(&self, tensors: &Tensors) -> Result<()> {
        let lookup = tensors.lookup();
        if let Some(apply) = &self.apply {
            batch_norm::apply(apply, &lookup, &tensors.places(&[Some(value::LOADED)]))?;
        }
        let moments = self.gives_moments.then_some(value::MOMENTS);
        let places = [Some(value::PRODUCT), moments];
        self.kernel.run(&self.op, &lookup, &tensors.places(&places))?;
        if let Some(moments) = &self.moments {
            batch_norm::forward(moments, &lookup, &tensors.places(&[]))?;
        }
        Ok(())
    }
}

/// The convolution's operation.
fn op(key: &Key, takes_load: bool) -> Op {
    let Geometry { stride, padding, dilation, groups, num_blocks, .. } = key.geometry;
    let window = Window { stride, padding, dilation, groups, num_blocks };
    let Fusible { add, activation, .. } = key.fusible;
    let (x, grad_y, weight, algorithm) = (value::X, value::Y, value::WEIGHT, None);
    let channels = value::CHANNELS;
    let load = Load { scale: channels, shift: channels, activation: ACTIVATION };
    let load = takes_load.then_some(load);
    let add = add.then_some(value::OTHER);
    match key.product {
        Product::Forward => Op::Convolution(Convolution {
            load,
            residual: add,
            activation: if activation { ACTIVATION } else { Activation::IDENTITY },
            ..Convolution::plain(x, weight, None, window)
        }),
        Product::GradInput => Op::ConvolutionGradInput(ConvolutionGradInput {
            grad_y,
            weight,
            window,
            add,
            algorithm,
        }),
        Product::GradWeight => Op::ConvolutionGradWeight(ConvolutionGradWeight {
            grad_y,
            x,
            load,
            weight,
            window,
            algorithm,
        }),
    }
}

/// The pass of a batch norm that stores its result.
fn apply() -> BatchNormApply {
    let (mean, invstd) = (value::CHANNELS, value::CHANNELS);
    BatchNormApply {
        x: value::X,
        weight: None,
        bias: None,
        residual: None,
        statistics: Statistics::Saved { mean, invstd },
        activation: ACTIVATION,
    }
}

/// The pass of a batch norm that computes the moments of a convolution's result.
fn moments_pass() -> BatchNorm {
    BatchNorm {
        x: value::Y,
        moments: None,
        weight: None,
        bias: None,
        residual: None,
        running: None,
        momentum: 0.0,
        eps: 1.0,
        activation: ACTIVATION,
    }
}

/// The tensors that all candidates read, and those that they write. As in a step, the results of
/// our operations have memory of their own; torch allocates its own.
struct Tensors {
    inputs: Vec<Tensor>,
    storage: Storage,
}

impl Tensors {
    fn new(key: &Key) -> Result<Tensors> {
        let Geometry { batch, in_channels, out_channels, groups, .. } = key.geometry;
        let kind = Kind::from(key.dtype);
        let [x, y] = [
            shape([batch, in_channels], key.geometry.in_size),
            shape([batch, out_channels], key.geometry.out_size()),
        ];
        let weight =
            shape([key.geometry.bias_len(), in_channels / groups], key.geometry.kernel_size);
        let product = if key.product == Product::Forward { &y } else { &x };
        let channels = Tensor::f_ones([in_channels as i64], (Kind::Float, Device::Cpu))?;
        let inputs = vec![
            numbers(&x, kind)?,
            numbers(&y, kind)?,
            numbers(&weight, Kind::Float)?,
            channels,
            numbers(product, kind)?,
        ];
        let mut written: Vec<Option<Tensor>> = Vec::new();
        written.resize_with(value::COUNT, || None);
        let empty = |size: &[i64]| empty_channels_last(size.to_vec(), kind, Device::Cpu);
        written[value::LOADED.0] = Some(empty(&x)?);
        // The gradient of the weight is small, and in fp32.
        if key.product != Product::GradWeight {
            written[value::PRODUCT.0] = Some(empty(product)?);
        }
        Ok(Tensors { inputs, storage: Storage::of(written) })
    }

    fn lookup(&self) -> impl Fn(ValueId) -> Result<Tensor> + '_ {
        |value| Ok(self.inputs[value.0].shallow_clone())
    }

    fn places<'a>(&'a self, outputs: &'a [Option<ValueId>]) -> Places<'a> {
        Places { outputs, storage: &self.storage }
    }
}

fn shape([a, b]: [usize; 2], [c, d]: [usize; 2]) -> [i64; 4] {
    [a, b, c, d].map(|n| n as i64)
}

/// Numbers that are not random: torch's generator belongs to the user.
fn numbers(size: &[i64], kind: Kind) -> Result<Tensor> {
    let size = in_memory(size);
    let count: i64 = size.iter().product();
    let wave = Tensor::f_arange(count, (Kind::Float, Device::Cpu))?.f_sin()?;
    as_channels_last(&wave.f_view(size.as_slice())?.f_to_kind(kind)?, 4)
}
