//! The interface of a device that runs kernels, and the types of their arguments.

use std::os::raw::c_void;

use super::launch::Launch;
use super::Source;
use crate::error::Result;

/// A device with one stream, which runs all work in the order of the calls.
pub trait Device {
    /// The number of multiprocessors, which determines how many blocks run at the same time.
    fn multiprocessors(&self) -> usize;

    /// Launches a kernel, which runs after all work that was launched before; does not wait.
    ///
    /// # Safety
    /// `arguments` point to values of the types of the entry's parameters. Addresses among these
    /// point to device memory of the size that the kernel reads and writes, and remain valid until
    /// it has run.
    unsafe fn launch(
        &self,
        source: Source,
        entry: &str,
        launch: &Launch,
        arguments: &mut [*mut c_void],
    ) -> Result<()>;

    /// Copies to the device, after all work that was launched before. `from` may change once this
    /// returns.
    ///
    /// # Safety
    /// The memory at `to` has at least as many bytes as `from`.
    unsafe fn write(&self, from: &[u8], to: Address) -> Result<()>;

    /// Copies from the device, after all work that was launched before, and waits for it.
    ///
    /// # Safety
    /// The memory at `from` has at least as many bytes as `to`.
    unsafe fn read(&self, from: Address, to: &mut [u8]) -> Result<()>;

    /// Copies a batch to the device while earlier work runs; later work waits for the copies.
    /// The staging buffers are used in turn, so that one batch is copied while another is in use.
    ///
    /// # Safety
    /// The memory at each address has at least as many bytes as its part. Only work that is
    /// launched before [`Device::release`] of this buffer uses it.
    unsafe fn send(&self, buffer: usize, parts: &[(&[u8], Address)]) -> Result<()>;

    /// Allows the next [`Device::send`] to overwrite what this staging buffer holds, once all work
    /// that was launched so far has run.
    fn release(&self, buffer: usize) -> Result<()>;
}

/// The number of staging buffers of [`Device::send`].
pub const STAGING_BUFFERS: usize = 2;

/// An address in device memory; zero if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Address(pub u64);

impl Address {
    pub const NONE: Address = Address(0);

    pub fn is_aligned(self, bytes: u64) -> bool {
        self.0.is_multiple_of(bytes)
    }
}

/// Plain data that is copied to and from a device: numbers, and structures of numbers without
/// padding.
///
/// # Safety
/// The type has no padding bytes, and every bit pattern is a valid value.
pub unsafe trait Plain: Copy + Default {}

// SAFETY: primitive numbers.
unsafe impl Plain for u8 {}
unsafe impl Plain for i64 {}
unsafe impl Plain for f32 {}
unsafe impl Plain for f64 {}

/// The type of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    F32,
    Bf16,
}

impl Number {
    /// Its name in the CUDA sources.
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

/// The arguments of a launch, in order.
#[derive(Default)]
pub(super) struct Arguments {
    values: Vec<[u64; 2]>,
}

impl Arguments {
    pub(super) fn new() -> Arguments {
        Arguments::default()
    }

    /// Appends a number, an address or a small structure, in its C representation.
    pub(super) fn with<T: Copy>(mut self, value: T) -> Arguments {
        const { assert!(size_of::<T>() <= 16 && align_of::<T>() <= 8) };
        let mut bytes = [0u64; 2];
        // SAFETY: `bytes` is large enough and aligned.
        unsafe { bytes.as_mut_ptr().cast::<T>().write(value) };
        self.values.push(bytes);
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
        // SAFETY: guaranteed by the caller; the pointers are valid while `self` lives.
        unsafe { device.launch(source, entry, launch, &mut pointers) }
    }
}
