//! A convolution of a network, with inputs for its three passes.

use std::fmt;

use divan::black_box;
use divan::counter::{BytesCount, ItemsCount};
use half::bf16;
use proprelu::activation::Activation;
use proprelu::cpu::Number;
use proprelu::kernels::cpu::convolution::{Forward, Geometry, GradInput, Load};

/// The shape of a convolution with square images, square kernels and "same" padding.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub network: &'static str,
    pub batch: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub size: usize,
    pub kernel: usize,
    pub stride: usize,
    pub groups: usize,
}

impl Shape {
    pub const fn new(
        network: &'static str,
        batch: usize,
        [in_channels, out_channels]: [usize; 2],
        size: usize,
        kernel: usize,
        stride: usize,
    ) -> Shape {
        Shape { network, batch, in_channels, out_channels, size, kernel, stride, groups: 1 }
    }

    pub fn geometry(&self) -> Geometry {
        Geometry {
            batch: self.batch,
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            in_size: [self.size; 2],
            kernel_size: [self.kernel; 2],
            stride: [self.stride; 2],
            padding: [self.kernel / 2; 2],
            dilation: [1; 2],
            groups: self.groups,
            num_blocks: 1,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { network, batch, in_channels, out_channels, size, kernel, stride, .. } = self;
        write!(
            f,
            "{network} {batch}x{size}x{size} {in_channels}->{out_channels} {kernel}x{kernel}"
        )?;
        match stride {
            1 => Ok(()),
            stride => write!(f, " stride {stride}"),
        }
    }
}

/// Number types of a convolution.
pub trait Types {
    type Activation: Number;
    /// The type in which activations and weights are multiplied.
    type Multiplied: Number;
}

pub struct F32;
pub struct Bf16;
pub struct Bf16AsF32;

impl Types for F32 {
    type Activation = f32;
    type Multiplied = f32;
}

impl Types for Bf16 {
    type Activation = bf16;
    type Multiplied = bf16;
}

impl Types for Bf16AsF32 {
    type Activation = bf16;
    type Multiplied = f32;
}

/// The tensors of all three passes.
pub struct Problem<T> {
    pub geometry: Geometry,
    pub x: Vec<T>,
    pub grad_y: Vec<T>,
    pub master: Vec<f32>,
    pub y: Vec<T>,
    pub grad_x: Vec<T>,
    pub grad_weight: Vec<f32>,
}

impl<T: Number> Problem<T> {
    pub fn new(shape: &Shape) -> Self {
        let geometry = shape.geometry();
        let (x, grad_y) = (wave(geometry.in_len(), 0.7), wave(geometry.out_len(), 1.3));
        let master: Vec<f32> = wave(geometry.weight_len(), 0.9);
        Problem {
            geometry,
            y: grad_y.clone(),
            grad_x: x.clone(),
            grad_weight: master.clone(),
            x,
            grad_y,
            master,
        }
    }

    /// The forward with a packed weight.
    pub fn forward<'a, W>(
        &'a mut self,
        weight: &'a W,
        load: Option<Load<'a>>,
        statistics: bool,
    ) -> Forward<'a, T, W> {
        let (bias, residual, activation) = (None, None, Activation::IDENTITY);
        let (x, weight, y) =
            (black_box(&self.x[..]), black_box(weight), black_box(&mut self.y[..]));
        let geometry = self.geometry;
        Forward { geometry, x, load, weight, bias, residual, activation, statistics, y }
    }

    /// The gradient of the input with a packed weight.
    pub fn grad_input<'a, W>(&'a mut self, weight: &'a W) -> GradInput<'a, T, W> {
        let (grad_y, grad_x) = (black_box(&self.grad_y[..]), black_box(&mut self.grad_x[..]));
        GradInput { geometry: self.geometry, grad_y, weight: black_box(weight), add: None, grad_x }
    }

    pub fn flops(&self) -> ItemsCount {
        ItemsCount::new(2 * self.geometry.macs())
    }

    /// Bytes of the input and the output.
    pub fn bytes(&self) -> BytesCount {
        BytesCount::new((self.geometry.in_len() + self.geometry.out_len()) * size_of::<T>())
    }
}

/// Values between -1 and 1.
pub fn wave<T: Number>(len: usize, step: f32) -> Vec<T> {
    (0..len).map(|i| T::from_f32((i as f32 * step).sin())).collect()
}
