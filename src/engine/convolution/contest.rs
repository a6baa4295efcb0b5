//! The contest between the algorithms for a convolution, on tensors of its shape.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::Kernel;
use crate::engine::memory::{as_channels_last, in_memory};
use crate::engine::storage::Storage;
use crate::engine::values::Places;
use crate::error::Result;
use crate::kernels::cpu::convolution::Geometry;
use crate::program::{
    Convolution, ConvolutionGradInput, ConvolutionGradWeight, Dtype, Op, ValueId, Window,
};
use crate::tuning::{Contest, Key, Product};

/// One kernel for each candidate.
pub struct Kernels {
    tensors: Tensors,
    kernels: Vec<Kernel>,
}

impl Kernels {
    /// Packs the weights and runs each kernel once, untimed.
    pub fn new(key: &Key) -> Result<Kernels> {
        let _no_grad = tch::no_grad_guard();
        let tensors = Tensors::new(&key.geometry, key.dtype)?;
        let kernels = key.candidates.iter().map(|algorithm| {
            let mut kernel = Kernel::new(key.product, key.geometry, key.dtype, *algorithm)?;
            kernel.pack(&tensors.op(key.product), &tensors.lookup())?;
            tensors.run(&kernel)?;
            Ok(kernel)
        });
        let kernels = kernels.collect::<Result<_>>()?;
        Ok(Kernels { tensors, kernels })
    }
}

impl Contest for Kernels {
    fn run(&mut self, candidate: usize) -> Result<f64> {
        let _no_grad = tch::no_grad_guard();
        let start = Instant::now();
        self.tensors.run(&self.kernels[candidate])?;
        Ok(start.elapsed().as_secs_f64())
    }
}

/// The tensors that all candidates read.
struct Tensors {
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    window: Window,
    storage: Storage,
}

impl Tensors {
    fn new(geometry: &Geometry, dtype: Dtype) -> Result<Tensors> {
        let Geometry { batch, in_channels, out_channels, groups, num_blocks, .. } = *geometry;
        let Geometry { in_size, kernel_size, stride, padding, dilation, .. } = *geometry;
        let kind = Kind::from(dtype);
        let numbers = |[a, b]: [usize; 2], [c, d]: [usize; 2], kind| -> Result<Tensor> {
            let size = in_memory(&[a, b, c, d].map(|n| n as i64));
            let count: i64 = size.iter().product();
            // Not random: torch's generator belongs to the user.
            let wave = Tensor::f_arange(count, (Kind::Float, Device::Cpu))?.f_sin()?;
            as_channels_last(&wave.f_view(size.as_slice())?.f_to_kind(kind)?, 4)
        };
        Ok(Tensors {
            x: numbers([batch, in_channels], in_size, kind)?,
            y: numbers([batch, out_channels], geometry.out_size(), kind)?,
            weight: numbers([geometry.bias_len(), in_channels / groups], kernel_size, Kind::Float)?,
            window: Window { stride, padding, dilation, groups, num_blocks },
            storage: Storage::none(),
        })
    }

    fn op(&self, product: Product) -> Op {
        let (x, grad_y, weight) = (ValueId(0), ValueId(1), ValueId(2));
        let window = self.window;
        match product {
            Product::Forward => Op::Convolution(Convolution::plain(x, weight, None, window)),
            Product::GradInput => Op::ConvolutionGradInput(ConvolutionGradInput {
                grad_y,
                weight,
                window,
                add: None,
                algorithm: None,
            }),
            Product::GradWeight => {
                let (load, algorithm) = (None, None);
                Op::ConvolutionGradWeight(ConvolutionGradWeight {
                    grad_y,
                    x,
                    load,
                    weight,
                    window,
                    algorithm,
                })
            }
        }
    }

    fn lookup(&self) -> impl Fn(ValueId) -> Result<Tensor> + '_ {
        let tensors = [&self.x, &self.y, &self.weight];
        move |value| Ok(tensors[value.0].shallow_clone())
    }

    fn run(&self, kernel: &Kernel) -> Result<()> {
        let places = Places { outputs: &[], storage: &self.storage };
        kernel.run(&self.op(kernel.product), &self.lookup(), &places).map(|_| ())
    }
}
