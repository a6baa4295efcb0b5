//! The geometry of a convolution's instruction, as the kernels describe it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernels::cpu::convolution::Geometry;
use crate::program::{Dtype, Instruction, Op, Program, ValueId, Window};

/// One of the three products of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    Forward,
    GradInput,
    GradWeight,
}

/// The product and the geometry of a convolution's instruction; `None` for other operations.
pub fn geometry(
    program: &Program,
    instruction: &Instruction,
) -> Result<Option<(Product, Geometry)>> {
    let output = |place: usize| instruction.outputs.get(place).copied().flatten();
    let (product, x, y, window) = match &instruction.op {
        Op::Convolution(op) => (Product::Forward, Some(op.x), output(0), op.window),
        Op::ConvolutionGradInput(op) => (Product::GradInput, output(0), Some(op.grad_y), op.window),
        Op::ConvolutionGradWeight(op) => {
            (Product::GradWeight, Some(op.x), Some(op.grad_y), op.window)
        }
        _ => return Ok(None),
    };
    let kernel_size = kernel_size(program, instruction)?;
    let shape = |value: Option<ValueId>| shape(program, value);
    let ([batch, in_channels, height, width], [_, out_channels, ..]) = (shape(x)?, shape(y)?);
    let Window { stride, padding, dilation, groups, num_blocks } = window;
    let in_size = [height, width];
    let geometry = Geometry {
        batch,
        in_channels,
        out_channels,
        in_size,
        kernel_size,
        stride,
        padding,
        dilation,
        groups,
        num_blocks,
    };
    geometry.check()?;
    Ok(Some((product, geometry)))
}

/// The type of a convolution's activations.
pub fn dtype(program: &Program, op: &Op) -> Dtype {
    let value = match op {
        Op::Convolution(op) => op.x,
        Op::ConvolutionGradInput(op) => op.grad_y,
        Op::ConvolutionGradWeight(op) => op.x,
        _ => return Dtype::Float32,
    };
    program.values[value.0].dtype
}

fn kernel_size(program: &Program, instruction: &Instruction) -> Result<[usize; 2]> {
    let weight = match &instruction.op {
        Op::Convolution(op) => op.weight,
        Op::ConvolutionGradInput(op) => op.weight,
        Op::ConvolutionGradWeight(op) => op.weight,
        _ => return Err(Error::Capture("not a convolution".into())),
    };
    let [_, _, height, width] = shape(program, Some(weight))?;
    Ok([height, width])
}

fn shape(program: &Program, value: Option<ValueId>) -> Result<[usize; 4]> {
    let sizes = value.map(|value| &program.values[value.0].shape[..]);
    match sizes {
        Some(&[a, b, c, d]) => Ok([a, b, c, d].map(|size| size as usize)),
        Some(sizes) => Err(Error::Capture(format!("a convolution of shape {sizes:?}"))),
        None => Err(Error::Capture("a convolution without a result".into())),
    }
}
