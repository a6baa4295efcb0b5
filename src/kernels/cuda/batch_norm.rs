//! Launches the kernels of batch norm: forward, evaluation and backward.

use super::device::{Address, Arguments, Device, Number};
use super::launch::{self, Rows};
use super::Source;
use crate::activation::Activation;
use crate::error::{Error, Result};

/// A matrix of rows by channels, channels innermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub rows: usize,
    pub channels: usize,
    pub number: Number,
}

/// An activation, in the layout of `common.cuh`.
#[derive(Clone, Copy)]
#[repr(C)]
struct ActivationArgument {
    slope: f32,
    max: f32,
}

impl From<Activation> for ActivationArgument {
    fn from(Activation { slope, max }: Activation) -> ActivationArgument {
        ActivationArgument { slope, max }
    }
}

/// `y = activation(batch_norm(x) + residual)`. Vectors are fp32 with one number for each channel.
#[derive(Clone, Copy, Debug)]
pub struct Forward {
    pub shape: Shape,
    pub eps: f32,
    pub momentum: f32,
    pub activation: Activation,
    pub x: Address,
    /// `NONE` means a weight of one.
    pub weight: Address,
    /// `NONE` means a bias of zero.
    pub bias: Address,
    /// In the shape and type of `x`, or `NONE`.
    pub residual: Address,
    pub y: Address,
    pub save_mean: Address,
    pub save_invstd: Address,
    /// Both or neither.
    pub running_mean: Address,
    pub running_var: Address,
    /// The updated running statistics.
    pub new_mean: Address,
    pub new_var: Address,
    /// A work buffer of [`partial_len`] fp32 numbers.
    pub partial: Address,
}

/// The last pass of the forward, with given statistics.
#[derive(Clone, Copy, Debug)]
pub struct Apply {
    pub shape: Shape,
    pub activation: Activation,
    pub x: Address,
    pub mean: Address,
    pub invstd: Address,
    /// As in [`Forward`].
    pub weight: Address,
    pub bias: Address,
    pub residual: Address,
    pub y: Address,
}

/// The backward of [`Forward`].
#[derive(Clone, Copy, Debug)]
pub struct Backward {
    pub shape: Shape,
    pub activation: Activation,
    pub grad_y: Address,
    /// The output of the forward, which masks the gradient of the activation. Without a residual it
    /// may be `NONE`: the input of the activation is then recomputed.
    pub y: Address,
    pub x: Address,
    pub weight: Address,
    pub bias: Address,
    pub save_mean: Address,
    pub save_invstd: Address,
    pub grad_x: Address,
    /// In the shape and type of `x`, or `NONE`.
    pub grad_residual: Address,
    /// Vectors, or `NONE`.
    pub grad_weight: Address,
    pub grad_bias: Address,
    /// A work buffer of two adjacent vectors, the slope and the offset of `batch_norm.cu`.
    pub lines: Address,
    /// As in [`Forward`].
    pub partial: Address,
}

/// The length of the work buffer for the partial sums of forward and backward.
pub fn partial_len(shape: Shape, device: &dyn Device) -> Result<usize> {
    let len = |address| -> Result<usize> {
        Ok(plan(shape, &[address], &[], device)?.partial_len(shape.channels))
    };
    // The number of parts differs for memory that is not aligned.
    Ok(len(Address::NONE)?.max(len(Address(1))?))
}

impl Forward {
    /// # Safety
    /// As for [`Device::launch`]; the memory at all addresses has the documented sizes.
    pub unsafe fn launch(&self, device: &dyn Device) -> Result<()> {
        let Shape { rows, channels, number } = self.shape;
        let plan = plan(self.shape, &self.matrices(), &self.vectors(), device)?;
        let pass = |name: &str| format!("batch_norm_{name}_{}_{}", number.name(), plan.lanes);
        let each_channel = channel_launch(channels)?;
        let (rows, channels) = (rows as i64, channels as i32);
        let moments = Arguments::new().with(self.x).with(rows).with(channels).with(self.partial);
        let statistics = Arguments::new()
            .with(self.x)
            .with(self.partial)
            .with(plan.parts as i32)
            .with(rows)
            .with(channels)
            .with(self.momentum)
            .with(self.eps)
            .with(self.save_mean)
            .with(self.save_invstd)
            .with(self.running_mean)
            .with(self.running_var)
            .with(self.new_mean)
            .with(self.new_var);
        let statistics_entry = format!("batch_norm_statistics_{}", number.name());
        // SAFETY: the arguments match the source; the caller guarantees the rest.
        unsafe {
            moments.launch(device, Source::BatchNorm, &pass("moments"), &plan.launch)?;
            statistics.launch(device, Source::BatchNorm, &statistics_entry, &each_channel)?;
            self.apply().launch(device)
        }
    }

    /// The pass after the statistics.
    fn apply(&self) -> Apply {
        let Forward { shape, activation, x, weight, bias, residual, y, .. } = *self;
        let (mean, invstd) = (self.save_mean, self.save_invstd);
        Apply { shape, activation, x, mean, invstd, weight, bias, residual, y }
    }

    fn matrices(&self) -> [Address; 3] {
        [self.x, self.residual, self.y]
    }

    fn vectors(&self) -> [Address; 4] {
        [self.save_mean, self.save_invstd, self.weight, self.bias]
    }
}

impl Apply {
    /// # Safety
    /// As for [`Device::launch`]; the memory at all addresses has the documented sizes.
    pub unsafe fn launch(&self, device: &dyn Device) -> Result<()> {
        let Shape { rows, channels, number } = self.shape;
        let vectors = [self.mean, self.invstd, self.weight, self.bias];
        let plan = plan(self.shape, &[self.x, self.residual, self.y], &vectors, device)?;
        let entry = format!("batch_norm_normalize_{}_{}", number.name(), plan.lanes);
        let arguments = Arguments::new()
            .with(self.x)
            .with(self.residual)
            .with(rows as i64)
            .with(channels as i32)
            .with(self.mean)
            .with(self.invstd)
            .with(self.weight)
            .with(self.bias)
            .with(ActivationArgument::from(self.activation))
            .with(self.y);
        // SAFETY: the arguments match the source; the caller guarantees the rest.
        unsafe { arguments.launch(device, Source::BatchNorm, &entry, &plan.launch) }
    }
}

/// Writes `1 / sqrt(var + eps)` of each channel.
///
/// # Safety
/// As for [`Device::launch`]; `var` and `to` are vectors.
pub unsafe fn invstd(
    device: &dyn Device,
    var: Address,
    channels: usize,
    eps: f32,
    to: Address,
) -> Result<()> {
    let arguments = Arguments::new().with(var).with(channels as i32).with(eps).with(to);
    let launch = launch::elements(channels).ok_or(Error::EmptyBatchNorm { rows: 0, channels })?;
    // SAFETY: as above.
    unsafe { arguments.launch(device, Source::BatchNorm, "batch_norm_invstd", &launch) }
}

impl Backward {
    /// # Safety
    /// As for [`Device::launch`]; the memory at all addresses has the documented sizes.
    pub unsafe fn launch(&self, device: &dyn Device) -> Result<()> {
        let Shape { rows, channels, number } = self.shape;
        let matrices = [self.grad_y, self.y, self.x, self.grad_x, self.grad_residual];
        let offset = Address(self.lines.0 + (channels * size_of::<f32>()) as u64);
        let line = [self.save_mean, self.save_invstd, self.weight, self.bias];
        let vectors = [line.as_slice(), &[self.lines, offset]].concat();
        let plan = plan(self.shape, &matrices, &vectors, device)?;
        let pass = |name: &str| format!("batch_norm_{name}_{}_{}", number.name(), plan.lanes);
        let each_channel = channel_launch(channels)?;
        let (rows, channels) = (rows as i64, channels as i32);
        let read = || {
            Arguments::new()
                .with(self.grad_y)
                .with(self.y)
                .with(self.x)
                .with(rows)
                .with(channels)
                .with(self.save_mean)
                .with(self.save_invstd)
                .with(self.weight)
                .with(self.bias)
        };
        let activation = ActivationArgument::from(self.activation);
        let sums = read().with(activation).with(self.partial);
        let lines = Arguments::new()
            .with(self.partial)
            .with(plan.parts as i32)
            .with(rows)
            .with(channels)
            .with(self.save_invstd)
            .with(self.weight)
            .with(self.grad_weight)
            .with(self.grad_bias)
            .with(self.lines)
            .with(offset);
        let gradient = read()
            .with(self.lines)
            .with(offset)
            .with(activation)
            .with(self.grad_x)
            .with(self.grad_residual);
        let source = Source::BatchNorm;
        // SAFETY: the arguments match the source; the caller guarantees the rest.
        unsafe {
            sums.launch(device, source, &pass("gradient_sums"), &plan.launch)?;
            lines.launch(device, source, "batch_norm_gradient_lines", &each_channel)?;
            gradient.launch(device, source, &pass("input_gradient"), &plan.launch)
        }
    }
}

fn plan(
    shape: Shape,
    matrices: &[Address],
    vectors: &[Address],
    device: &dyn Device,
) -> Result<Rows> {
    let Shape { rows, channels, number } = shape;
    // A load of fp32 vectors has as many numbers as one of a matrix, so up to twice the bytes.
    let aligned = matrices.iter().all(|matrix| matrix.is_aligned(16))
        && vectors.iter().all(|vector| vector.is_aligned(32));
    launch::rows(rows, channels, number.bytes(), aligned, device.multiprocessors())
        .ok_or(Error::EmptyBatchNorm { rows, channels })
}

/// A block for each channel.
fn channel_launch(channels: usize) -> Result<launch::Launch> {
    launch::blocks(channels).ok_or(Error::EmptyBatchNorm { rows: 0, channels })
}

#[cfg(test)]
mod tests;
