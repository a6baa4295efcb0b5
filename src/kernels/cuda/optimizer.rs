//! Updates all parameters on the device in one pass.

use super::device::{Address, Arguments, Device, Plain};
use super::launch::{self, Launch, THREADS};
use super::Source;
use crate::error::{Error, Result};

/// The numbers of a chunk: a few for each thread, so that a small network still has enough chunks
/// to occupy the GPU.
const CHUNK: usize = 1 << 11;

/// A parameter with its gradient and state. All addresses point to `len` numbers, in fp32 unless
/// noted; optional ones may be `NONE`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parameter {
    pub len: usize,
    pub param: Address,
    /// `NONE` for a parameter that is not updated.
    pub grad: Address,
    pub grad_is_bf16: bool,
    /// Momentum, or the first and the second moment.
    pub state: [Address; 2],
    pub average: Address,
    /// The copy in bf16.
    pub shadow: Address,
    /// The index of the settings and the learning rate.
    pub group: usize,
}

/// A part of one parameter, in the layout of `optimizer.cu`.
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

/// The settings of a group, with torch's names; `damp` is one minus the dampening.
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

/// Divides all parameters into chunks, which have to be copied to the device.
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

/// A step of all parameters. All addresses are in device memory.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    pub rule: Rule,
    /// The [`chunks`], and their number.
    pub chunks: Address,
    pub count: usize,
    /// An [`Sgd`] or [`AdamW`] for each group.
    pub groups: Address,
    /// fp64, the learning rate of each group.
    pub lrs: Address,
    /// fp64, the schedule's factor for each step of the epoch.
    pub factors: Address,
    pub steps: usize,
    /// A [`Cursor`](super::augment::Cursor).
    pub cursor: Address,
    /// The decay of the averages, and whether it rises to its value.
    pub decay: f64,
    pub warmup: bool,
    pub clip: Option<Clip>,
}

/// Scales all gradients so that their total norm is at most `max_norm`.
#[derive(Clone, Copy, Debug)]
pub struct Clip {
    pub max_norm: f64,
    /// fp64, a work buffer with one number for each chunk.
    pub sums: Address,
    /// fp32, a work buffer for the factor of the gradients.
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
            // SAFETY: the arguments match the source; the caller guarantees the rest.
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
            .with(self.decay)
            .with(i32::from(self.warmup));
        let entry = match self.rule {
            Rule::Sgd => "sgd",
            Rule::AdamW => "adamw",
        };
        // SAFETY: as above.
        unsafe { step.launch(device, source, entry, &each) }
    }
}

/// A copy of a part of a buffer's new value, in the layout of `optimizer.cu`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BufferPart {
    from: Address,
    to: Address,
    /// The number of words of four bytes, and of bytes after them.
    count: i32,
    bytes: i32,
}

/// Divides the copy of a buffer into parts, which have to be copied to the device.
pub fn copies(from: Address, to: Address, bytes: usize) -> impl Iterator<Item = BufferPart> {
    (0..bytes).step_by(4 * CHUNK).map(move |start| {
        let at = |address: Address| Address(address.0 + start as u64);
        let part = (bytes - start).min(4 * CHUNK);
        let (count, bytes) = ((part / 4) as i32, (part % 4) as i32);
        BufferPart { from: at(from), to: at(to), count, bytes }
    })
}

/// Copies new values into the buffers, unless the training has failed.
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

// SAFETY: structures of numbers without padding.
unsafe impl Plain for Chunk {}
unsafe impl Plain for BufferPart {}
unsafe impl Plain for Sgd {}
unsafe impl Plain for AdamW {}

#[cfg(test)]
mod tests;
