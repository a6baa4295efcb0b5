//! One pass over all parameters on the device.

use super::device::{Address, Arguments, Device, Plain};
use super::launch::{self, Launch, THREADS};
use super::Source;
use crate::error::{Error, Result};

/// Numbers of a chunk: a few for each thread, so that a small network has chunks for a whole GPU.
const CHUNK: usize = 1 << 11;

/// A parameter and what belongs to it; addresses of equally many numbers, fp32 but the copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parameter {
    pub len: usize,
    pub param: Address,
    /// None for a parameter that stays as it is.
    pub grad: Address,
    pub grad_is_bf16: bool,
    /// Momentum, or the first and the second moment.
    pub state: [Address; 2],
    pub average: Address,
    /// A copy in bf16.
    pub shadow: Address,
    /// Whose settings and rate are the parameter's.
    pub group: usize,
}

/// A part of one parameter, as the kernels read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Chunk {
    param: Address,
    grad: Address,
    state: [Address; 2],
    average: Address,
    shadow: Address,
    count: i32,
    grad_is_bf16: i32,
    group: i32,
    unused: i32,
}

/// Settings of a group, with torch's names; `damp` is one minus the dampening.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Sgd {
    pub momentum: f32,
    pub damp: f32,
    pub weight_decay: f32,
    pub nesterov: i32,
    pub maximize: i32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct AdamW {
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f32,
    pub weight_decay: f32,
    pub maximize: i32,
    pub unused: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Sgd,
    AdamW,
}

/// All parameters in chunks: what is to be copied to the device once.
pub fn chunks(parameters: &[Parameter]) -> Vec<Chunk> {
    parameters.iter().flat_map(Parameter::chunks).collect()
}

impl Parameter {
    fn chunks(&self) -> impl Iterator<Item = Chunk> + '_ {
        (0..self.len).step_by(CHUNK).map(move |start| {
            let at = |address: Address, bytes: usize| match address {
                Address::NONE => Address::NONE,
                Address(first) => Address(first + (start * bytes) as u64),
            };
            Chunk {
                param: at(self.param, 4),
                grad: at(self.grad, if self.grad_is_bf16 { 2 } else { 4 }),
                state: self.state.map(|state| at(state, 4)),
                average: at(self.average, 4),
                shadow: at(self.shadow, 2),
                count: (self.len - start).min(CHUNK) as i32,
                grad_is_bf16: self.grad_is_bf16.into(),
                group: self.group as i32,
                unused: 0,
            }
        })
    }
}

/// A step of all parameters. Everything lies on the device.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    pub rule: Rule,
    /// [`chunks`], and how many they are.
    pub chunks: Address,
    pub count: usize,
    /// A structure of the rule for each group.
    pub groups: Address,
    /// fp64, a rate for each group.
    pub lrs: Address,
    /// fp64, the schedule's factor for each of the epoch's steps.
    pub factors: Address,
    pub steps: usize,
    /// A [`Cursor`](super::augment::Cursor).
    pub cursor: Address,
    /// One minus the decay of the averages.
    pub average_weight: f32,
    pub clip: Option<Clip>,
}

/// Gradients are scaled so that the norm of all together is `max_norm` at most.
#[derive(Clone, Copy, Debug)]
pub struct Clip {
    pub max_norm: f64,
    /// fp64, one for each chunk, to work in.
    pub sums: Address,
    /// fp32: what gradients are multiplied with.
    pub coefficient: Address,
}

impl Update {
    /// # Safety
    /// As for [`Device::launch`].
    pub unsafe fn launch(&self, device: &dyn Device) -> Result<()> {
        let nothing = Error::EmptyLaunch { what: "the parameters on the device" };
        let each = launch::blocks(self.count).ok_or(nothing)?;
        let one = Launch { grid: [1; 3], block: [THREADS, 1, 1] };
        let source = Source::Optimizer;
        if let Some(Clip { max_norm, sums, coefficient }) = self.clip {
            let norms = Arguments::new().with(self.chunks).with(sums);
            let count = self.count as i32;
            let clip = Arguments::new().with(sums).with(count).with(max_norm).with(coefficient);
            // SAFETY: the arguments are those of the source; the rest is the caller's.
            unsafe {
                norms.launch(device, source, "squared_norms", &each)?;
                clip.launch(device, source, "clip_coefficient", &one)?;
            }
        }
        let step = Arguments::new()
            .with(self.chunks)
            .with(self.groups)
            .with(self.lrs)
            .with(self.factors)
            .with(self.steps as i32)
            .with(self.cursor)
            .with(self.clip.map_or(Address::NONE, |clip| clip.coefficient))
            .with(self.average_weight);
        let entry = match self.rule {
            Rule::Sgd => "sgd",
            Rule::AdamW => "adamw",
        };
        // SAFETY: as above.
        unsafe { step.launch(device, source, entry, &each) }
    }
}

/// A part of a buffer's new value, and where it belongs, as the kernel reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BufferPart {
    from: Address,
    to: Address,
    /// Words of four bytes, and bytes behind them.
    count: i32,
    bytes: i32,
}

/// A buffer in parts: what is to be copied to the device once.
pub fn copies(from: Address, to: Address, bytes: usize) -> impl Iterator<Item = BufferPart> {
    (0..bytes).step_by(4 * CHUNK).map(move |start| {
        let at = |address: Address| Address(address.0 + start as u64);
        let part = (bytes - start).min(4 * CHUNK);
        let (count, bytes) = ((part / 4) as i32, (part % 4) as i32);
        BufferPart { from: at(from), to: at(to), count, bytes }
    })
}

/// Buffers take over their new values, unless the training has failed.
///
/// # Safety
/// As for [`Device::launch`]; `table` has `count` [`copies`].
pub unsafe fn take_over(
    device: &dyn Device,
    table: Address,
    count: usize,
    cursor: Address,
) -> Result<()> {
    let Some(launch) = launch::blocks(count) else { return Ok(()) };
    let arguments = Arguments::new().with(table).with(cursor);
    // SAFETY: as above.
    unsafe { arguments.launch(device, Source::Optimizer, "take_over", &launch) }
}

// SAFETY: numbers side by side; what would be a gap has a name.
unsafe impl Plain for Chunk {}
unsafe impl Plain for BufferPart {}
unsafe impl Plain for Sgd {}
unsafe impl Plain for AdamW {}

#[cfg(test)]
mod tests;
