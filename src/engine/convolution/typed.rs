//! Our convolution kernels on tensors of one element type.

use tch::{Kind, Tensor};

use super::folded::Folded;
use super::weight::{packed, Weight};
use crate::activation::Activation;
use crate::cpu::Number;
use crate::engine::memory::{slice, slice_mut, to_channels_last, Element};
use crate::engine::values::{Lookup, Outputs, Places};
use crate::engine::AtenPool;
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::{
    amx, depthwise, direct, winograd, Forward, Geometry, GradInput, Load, Operand, Widened,
};
use crate::program::{
    self, Algorithm, Convolution, ConvolutionGradInput, ConvolutionGradWeight, ValueId,
};
use crate::tuning::Product;

pub struct Typed<T> {
    geometry: Geometry,
    /// The geometry that the kernels compute, with several blocks in one.
    wide: Widened,
    algorithm: Algorithm,
    /// Absent if the kernels read the master, or no weight.
    weight: Option<Box<dyn Weight<T>>>,
}

impl<T: Number + Element> Typed<T> {
    pub fn new(product: Product, geometry: Geometry, algorithm: Algorithm) -> Result<Typed<T>> {
        let operand = match product {
            Product::Forward => Some(Operand::Forward),
            Product::GradInput => Some(Operand::GradInput),
            Product::GradWeight => None,
        };
        let wide = Widened::new(geometry);
        let weight = match operand {
            Some(operand) => packed(algorithm, wide.geometry, operand)?,
            None => None,
        };
        Ok(Typed { geometry, wide, algorithm, weight })
    }

    /// Packs the master, in the memory order `[out][kh][kw][in]`, times the scale of each output
    /// channel.
    pub fn pack(&mut self, master: &[f32], scale: Option<&[f32]>) -> Result<()> {
        let (master, scale) =
            (self.wide.weight(master), scale.map(|scale| self.wide.vector(scale)));
        match &mut self.weight {
            Some(weight) => weight.pack(&master, scale.as_deref()),
            None => Ok(()),
        }
    }

    /// Packs rows of the master, starting with the row `first`.
    ///
    /// # Safety
    /// `first` is a multiple of 16; concurrent calls have different rows, and nothing reads the
    /// weight meanwhile.
    pub unsafe fn pack_rows(&self, first: usize, rows: &[f32]) {
        // Widened blocks have so few rows that one call passes all of them.
        let rows = &self.wide.weight(rows);
        if let Some(weight) = &self.weight {
            // SAFETY: the caller's.
            unsafe { weight.pack_rows(first, rows) };
        }
    }

    /// `folded` is the batch norm that the weight was packed with.
    pub fn forward(
        &self,
        op: &Convolution,
        folded: Option<&Folded>,
        lookup: &Lookup<'_>,
        places: &Places<'_>,
    ) -> Result<Outputs> {
        let geometry = self.geometry;
        let x = to_channels_last(&lookup(op.x)?)?;
        let load = Loaded::optional(op.load.as_ref(), lookup)?;
        let bias = op.bias.filter(|_| folded.is_none());
        let bias = bias.map(|bias| fp32(&lookup(bias)?)).transpose()?;
        let residual = op.residual.map(|value| to_channels_last(&lookup(value)?)).transpose()?;
        let [height, width] = geometry.out_size();
        let mut y = self.activation(places, geometry.out_channels, height, width)?;
        let bias = match folded {
            Some(folded) => Some(&folded.bias[..]),
            None => bias.as_ref().map(slice).transpose()?,
        };
        let bias = bias.map(|bias| self.wide.vector(bias));
        let forward = Forward {
            geometry: self.wide.geometry,
            x: slice::<T>(&x)?,
            load: load.as_ref().map(Loaded::load).transpose()?,
            weight: &(),
            bias: bias.as_deref(),
            residual: residual.as_ref().map(slice::<T>).transpose()?,
            activation: op.activation,
            statistics: places.wanted(1),
            y: slice_mut::<T>(&mut y)?,
        };
        let moments = match &self.weight {
            Some(weight) => weight.forward(forward)?,
            None => {
                let weight = &Self::master(op.weight, lookup)?;
                let (weight, scale) = (slice(weight)?, folded.map(|folded| &folded.scale[..]));
                let Forward { x, load, bias, residual, activation, statistics, y, .. } = forward;
                if load.is_some() || residual.is_some() {
                    return Err(Error::Capture(
                        "depthwise kernels apply no load and add no residual".into(),
                    ));
                }
                depthwise::Forward { geometry, x, weight, scale, bias, activation, statistics, y }
                    .run(&AtenPool)?
            }
        };
        let moments = moments.map(|moments| -> Result<Tensor> {
            let mut tensor = places.moments(1, geometry.out_channels)?;
            let (mean, squares) = slice_mut::<f64>(&mut tensor)?.split_at_mut(moments.mean.len());
            mean.copy_from_slice(&moments.mean);
            squares.copy_from_slice(&moments.squares);
            Ok(tensor)
        });
        Ok(vec![Some(y), moments.transpose()?])
    }

    pub fn grad_input(
        &self,
        op: &ConvolutionGradInput,
        lookup: &Lookup<'_>,
        places: &Places<'_>,
    ) -> Result<Outputs> {
        let geometry = self.geometry;
        let grad_y = to_channels_last(&lookup(op.grad_y)?)?;
        let add = op.add.map(|add| to_channels_last(&lookup(add)?)).transpose()?;
        let [height, width] = geometry.in_size;
        let mut grad_x = self.activation(places, geometry.in_channels, height, width)?;
        let grad_input = GradInput {
            geometry: self.wide.geometry,
            grad_y: slice::<T>(&grad_y)?,
            weight: &(),
            add: add.as_ref().map(slice::<T>).transpose()?,
            grad_x: slice_mut::<T>(&mut grad_x)?,
        };
        match &self.weight {
            Some(weight) => weight.grad_input(grad_input)?,
            None => {
                let weight = &Self::master(op.weight, lookup)?;
                let weight = slice(weight)?;
                let GradInput { grad_y, add, grad_x, .. } = grad_input;
                depthwise::GradInput { geometry, grad_y, weight, add, grad_x }.run(&AtenPool)?
            }
        }
        Ok(vec![Some(grad_x)])
    }

    pub fn grad_weight(
        &self,
        op: &ConvolutionGradWeight,
        lookup: &Lookup<'_>,
        places: &Places<'_>,
    ) -> Result<Outputs> {
        let geometry = self.geometry;
        let grad_y = to_channels_last(&lookup(op.grad_y)?)?;
        let x = to_channels_last(&lookup(op.x)?)?;
        let load = Loaded::optional(op.load.as_ref(), lookup)?;
        let load = load.as_ref().map(Loaded::load).transpose()?;
        let (grad_y, x) = (slice::<T>(&grad_y)?, slice::<T>(&x)?);
        let [height, width] = geometry.kernel_size;
        let channels = geometry.bias_len();
        let size = [channels, geometry.in_channels / geometry.groups, height, width];
        let size = size.map(|n| n as i64).to_vec();
        let mut weight = places.channels_last(0, size, Kind::Float)?;
        let mut bias = places.wanted(1).then(|| places.vector(1, channels)).transpose()?;
        let grad_weight = slice_mut::<f32>(&mut weight)?;
        let grad_bias = bias.as_mut().map(slice_mut::<f32>).transpose()?;
        let geometry = self.wide.geometry;
        self.wide.gradients(grad_weight, grad_bias, |grad_weight, grad_bias| {
            macro_rules! run {
                ($algorithm:ident $(::<$multiplied:ty>)?) => {
                    $algorithm::GradWeight { geometry, x, load, grad_y, grad_weight, grad_bias }
                        .run$(::<$multiplied>)?(&AtenPool)
                };
            }
            match self.algorithm {
                Algorithm::Direct => run!(direct::<T>),
                Algorithm::DirectF32 => run!(direct::<f32>),
                Algorithm::Winograd => run!(winograd::<T>),
                Algorithm::WinogradF32 => run!(winograd::<f32>),
                Algorithm::Amx => run!(amx),
                _ => depthwise::GradWeight { geometry, x, grad_y, grad_weight, grad_bias }
                    .run(&AtenPool),
            }
        })?;
        Ok(vec![Some(weight), bias])
    }

    /// The memory of the first result.
    fn activation(
        &self,
        places: &Places<'_>,
        channels: usize,
        height: usize,
        width: usize,
    ) -> Result<Tensor> {
        let size = [self.geometry.batch, channels, height, width].map(|n| n as i64).to_vec();
        places.channels_last(0, size, <T as Element>::KIND)
    }

    fn master(weight: ValueId, lookup: &Lookup<'_>) -> Result<Tensor> {
        to_channels_last(&lookup(weight)?.f_to_kind(Kind::Float)?)
    }
}

/// The tensors of a load, which own the slices that the kernel reads.
struct Loaded {
    scale: Tensor,
    shift: Tensor,
    activation: Activation,
}

impl Loaded {
    fn optional(load: Option<&program::Load>, lookup: &Lookup<'_>) -> Result<Option<Loaded>> {
        let Some(load) = load else { return Ok(None) };
        let (scale, shift) = (lookup(load.scale)?, lookup(load.shift)?);
        Ok(Some(Loaded { scale, shift, activation: load.activation }))
    }

    fn load(&self) -> Result<Load<'_>> {
        let (scale, shift) = (slice(&self.scale)?, slice(&self.shift)?);
        Ok(Load { scale, shift, activation: self.activation })
    }
}

fn fp32(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_to_kind(Kind::Float)?.f_contiguous()?)
}
