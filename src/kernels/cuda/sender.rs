//! Copies batches to the GPU while it computes: through pinned staging buffers, on a stream of its
//! own, which events synchronize with the compute stream.

use std::sync::Mutex;

use cudarc::driver::{result, sys};

use super::device::{Address, STAGING_BUFFERS};

pub struct Sender {
    stream: sys::CUstream,
    buffers: Mutex<[Staging; STAGING_BUFFERS]>,
}

/// A staging buffer.
struct Staging {
    /// Pinned host memory, which the GPU reads directly.
    pinned: *mut u8,
    capacity: usize,
    /// Recorded after the copies.
    copied: sys::CUevent,
    /// Recorded after the last use of the copied data.
    used: sys::CUevent,
}

// SAFETY: the driver's handles may be used from any thread; the memory is guarded by the lock.
unsafe impl Send for Sender {}
unsafe impl Sync for Sender {}

type DriverResult<T> = std::result::Result<T, result::DriverError>;

impl Sender {
    /// Creates the stream and the events in the current context of this thread.
    pub fn new() -> DriverResult<Sender> {
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)?;
        let staging = || -> DriverResult<Staging> {
            let event = || result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
            let (copied, used) = (event()?, event()?);
            Ok(Staging { pinned: std::ptr::null_mut(), capacity: 0, copied, used })
        };
        Ok(Sender { stream, buffers: Mutex::new([staging()?, staging()?]) })
    }

    /// Copies `parts` to the device. Work that is launched on `compute` afterwards waits for them.
    ///
    /// # Safety
    /// As for `Device::send`.
    pub unsafe fn send(
        &self,
        buffer: usize,
        parts: &[(&[u8], Address)],
        compute: sys::CUstream,
    ) -> DriverResult<()> {
        let mut buffers = self.buffers.lock().unwrap_or_else(|broken| broken.into_inner());
        let staging = &mut buffers[buffer % STAGING_BUFFERS];
        let bytes = parts.iter().map(|(from, _)| from.len()).sum();
        let wait = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: the events belong to the buffer; waiting for an event that was never recorded
        // returns at once. The pinned memory is written after the copies from it have finished.
        unsafe {
            result::event::synchronize(staging.copied)?;
            staging.reserve(bytes)?;
            result::stream::wait_event(self.stream, staging.used, wait)?;
            let mut at = staging.pinned;
            for (from, to) in parts {
                std::ptr::copy_nonoverlapping(from.as_ptr(), at, from.len());
                let pinned = std::slice::from_raw_parts(at, from.len());
                result::memcpy_htod_async(to.0, pinned, self.stream)?;
                at = at.add(from.len());
            }
            result::event::record(staging.copied, self.stream)?;
            result::stream::wait_event(compute, staging.copied, wait)
        }
    }

    /// Marks the end of the use of the copied data on `compute`; see `Device::release`.
    pub fn release(&self, buffer: usize, compute: sys::CUstream) -> DriverResult<()> {
        let buffers = self.buffers.lock().unwrap_or_else(|broken| broken.into_inner());
        // SAFETY: the event belongs to the buffer.
        unsafe { result::event::record(buffers[buffer % STAGING_BUFFERS].used, compute) }
    }
}

impl Staging {
    /// Makes the pinned memory at least `bytes` long.
    ///
    /// # Safety
    /// Nothing reads the memory.
    unsafe fn reserve(&mut self, bytes: usize) -> DriverResult<()> {
        if bytes <= self.capacity {
            return Ok(());
        }
        // SAFETY: guaranteed by the caller.
        unsafe { self.free() };
        // SAFETY: only `free` frees it.
        self.pinned = unsafe { result::malloc_host(bytes, 0) }?.cast();
        self.capacity = bytes;
        Ok(())
    }

    /// Frees the pinned memory.
    ///
    /// # Safety
    /// Nothing reads the memory.
    unsafe fn free(&mut self) {
        if self.capacity > 0 {
            // SAFETY: `malloc_host` has allocated it.
            let _ = unsafe { result::free_host(self.pinned.cast()) };
        }
        (self.pinned, self.capacity) = (std::ptr::null_mut(), 0);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let buffers = self.buffers.get_mut().unwrap_or_else(|broken| broken.into_inner());
        // SAFETY: after the synchronization nothing uses the memory or the events.
        unsafe {
            let _ = result::stream::synchronize(self.stream);
            for staging in buffers {
                staging.free();
                let _ = result::event::destroy(staging.copied);
                let _ = result::event::destroy(staging.used);
            }
            let _ = result::stream::destroy(self.stream);
        }
    }
}
