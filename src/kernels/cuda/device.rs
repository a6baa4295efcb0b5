//! Who runs kernels, and what they are given.

use std::os::raw::c_void;

use super::launch::Launch;
use super::Source;
use crate::error::Result;

/// A device, and the order in which it does things (CUDA's stream).
pub trait Device {
    /// How many blocks are worked on at a time depends on it.
    fn multiprocessors(&self) -> usize;

    /// Has a kernel run behind all that was launched before; does not wait for it.
    ///
    /// # Safety
    /// `arguments` point to values of the types of the entry's parameters. Addresses among these
    /// are of the device's memory, as much of it as the kernel reads and writes, and stay good
    /// until it has run.
    unsafe fn launch(
        &self,
        source: Source,
        entry: &str,
        launch: &Launch,
        arguments: &mut [*mut c_void],
    ) -> Result<()>;

    /// Copies to the device, behind all that was launched before. `from` may change afterwards.
    ///
    /// # Safety
    /// There are as many bytes at `to`.
    unsafe fn write(&self, from: &[u8], to: Address) -> Result<()>;

    /// Copies from the device once all that was launched before has run; waits for it.
    ///
    /// # Safety
    /// There are as many bytes at `from`.
    unsafe fn read(&self, from: Address, to: &mut [u8]) -> Result<()>;

    /// Copies to the device while other things run there; what is launched afterwards runs behind
    /// it. There are two lanes, used in turn, so that one batch is on its way while another is used.
    ///
    /// # Safety
    /// There are as many bytes at each address, which nothing uses but what runs before
    /// [`Device::sent`] of this lane.
    unsafe fn send(&self, lane: usize, parts: &[(&[u8], Address)]) -> Result<()>;

    /// What a lane has brought is not needed any more by what will be launched.
    fn sent(&self, lane: usize) -> Result<()>;
}

/// Of [`Device::send`].
pub const LANES: usize = 2;

/// An address in a device's memory; zero where there is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Address(pub u64);

impl Address {
    pub const NONE: Address = Address(0);

    pub fn is_aligned(self, bytes: u64) -> bool {
        self.0.is_multiple_of(bytes)
    }
}

/// Numbers and structures of numbers without gaps, which any bytes make: what is copied to and from
/// a device.
///
/// # Safety
/// There is no byte that is not part of a number, and every bit pattern is one.
pub unsafe trait Plain: Copy + Default {}

// SAFETY: numbers.
unsafe impl Plain for u8 {}
unsafe impl Plain for i64 {}
unsafe impl Plain for f32 {}
unsafe impl Plain for f64 {}

/// The type of activations, by its name in the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    F32,
    Bf16,
}

impl Number {
    pub fn name(self) -> &'static str {
        match self {
            Number::F32 => "float",
            Number::Bf16 => "bf16",
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Number::F32 => 4,
            Number::Bf16 => 2,
        }
    }
}

/// The arguments of a launch, in their order.
#[derive(Default)]
pub(super) struct Arguments {
    values: Vec<[u64; 2]>,
}

impl Arguments {
    pub(super) fn new() -> Arguments {
        Arguments::default()
    }

    /// One more: a number, an address or a small structure, as C lays it out.
    pub(super) fn with<T: Copy>(mut self, value: T) -> Arguments {
        const { assert!(size_of::<T>() <= 16 && align_of::<T>() <= 8) };
        let mut place = [0u64; 2];
        // SAFETY: the place is large enough, aligned, and plain memory.
        unsafe { place.as_mut_ptr().cast::<T>().write(value) };
        self.values.push(place);
        self
    }

    /// # Safety
    /// As for [`Device::launch`].
    pub(super) unsafe fn launch(
        mut self,
        device: &dyn Device,
        source: Source,
        entry: &str,
        launch: &Launch,
    ) -> Result<()> {
        let values = self.values.iter_mut();
        let mut pointers: Vec<*mut c_void> =
            values.map(|value| value.as_mut_ptr().cast()).collect();
        // SAFETY: the caller's; the pointers are good while `self` lives.
        unsafe { device.launch(source, entry, launch, &mut pointers) }
    }
}
