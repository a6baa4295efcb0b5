//! One instruction with its kernel and its weight.

use tch::{Kind, Tensor};

use super::{torch, Algorithm, Product};
use crate::engine::memory::to_channels_last;
use crate::engine::values::{Lookup, Outputs, Places};
use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::Geometry;
use crate::program::{
    Convolution, ConvolutionGradInput, ConvolutionGradWeight, Dtype, Op, ValueId,
};

pub struct Ready {
    pub product: Product,
    pub geometry: Geometry,
    pub algorithm: Algorithm,
    kind: Kind,
    weight: Weight,
}

/// The weight as the kernel reads it.
enum Weight {
    /// The kernel reads none, or the master itself.
    Absent,
    /// In the type of the activations.
    Cast(Tensor),
}

impl Ready {
    pub fn new(
        product: Product,
        geometry: Geometry,
        dtype: Dtype,
        algorithm: Algorithm,
    ) -> Result<Ready> {
        let kind = match dtype {
            Dtype::Bfloat16 => Kind::BFloat16,
            _ => Kind::Float,
        };
        let weight = Weight::Absent;
        Ok(Ready { product, geometry, algorithm, kind, weight })
    }

    /// Whether the results go to the places they are given.
    pub fn writes_places(&self) -> bool {
        self.algorithm != Algorithm::Torch
    }

    /// Takes over new values of the master, fp32 of shape OIHW.
    pub fn pack(&mut self, master: &Tensor) -> Result<()> {
        if self.product != Product::GradWeight {
            self.weight = Weight::Cast(to_channels_last(master)?.f_to_kind(self.kind)?);
        }
        Ok(())
    }

    pub fn forward(
        &self,
        op: &Convolution,
        lookup: &Lookup<'_>,
        _places: &Places<'_>,
    ) -> Result<Outputs> {
        let bias = op.bias.map(lookup).transpose()?;
        let y = torch::forward(&lookup(op.x)?, self.cast_weight()?, bias, &op.window)?;
        Ok(vec![Some(y)])
    }

    pub fn grad_input(
        &self,
        op: &ConvolutionGradInput,
        lookup: &Lookup<'_>,
        _places: &Places<'_>,
    ) -> Result<Outputs> {
        let (grad_y, weight) = (lookup(op.grad_y)?, self.cast_weight()?);
        let mut grad_x = torch::grad_input(&self.geometry, &grad_y, weight, &op.window)?;
        if let Some(other) = op.add {
            grad_x = grad_x.f_add_(&lookup(other)?)?;
        }
        Ok(vec![Some(grad_x)])
    }

    pub fn grad_weight(
        &self,
        op: &ConvolutionGradWeight,
        lookup: &Lookup<'_>,
        places: &Places<'_>,
    ) -> Result<Outputs> {
        let (grad_y, x) = (lookup(op.grad_y)?, lookup(op.x)?);
        let with_bias = places.wanted(1);
        let gradients = torch::grad_weight(&self.geometry, &grad_y, &x, &op.window, with_bias)?;
        Ok(gradients.into())
    }

    fn cast_weight(&self) -> Result<&Tensor> {
        match &self.weight {
            Weight::Cast(weight) => Ok(weight),
            Weight::Absent => Err(Error::Capture("a convolution without its weight".into())),
        }
    }
}

/// The master of a convolution's weight, where its value is read.
pub fn master(op: &Op) -> Option<ValueId> {
    match op {
        Op::Convolution(op) => Some(op.weight),
        Op::ConvolutionGradInput(op) => Some(op.weight),
        _ => None,
    }
}
