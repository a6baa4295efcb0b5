//! Batches on their way to the GPU while it works: pinned memory, a stream of its own, and events
//! that say who waits for whom.

use std::sync::Mutex;

use cudarc::driver::{result, sys};

use super::device::{Address, LANES};

pub struct Sender {
    stream: sys::CUstream,
    lanes: Mutex<[Lane; LANES]>,
}

struct Lane {
    /// Memory of the host that the GPU reads by itself.
    pinned: *mut u8,
    capacity: usize,
    /// The copies have arrived.
    arrived: sys::CUevent,
    /// What was sent last is not needed any more.
    used: sys::CUevent,
}

// SAFETY: handles of the driver and memory that only the holder of the lock touches.
unsafe impl Send for Sender {}
unsafe impl Sync for Sender {}

type Driven<T> = std::result::Result<T, result::DriverError>;

impl Sender {
    /// In the context of this thread.
    pub fn new() -> Driven<Sender> {
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)?;
        let lane = || -> Driven<Lane> {
            let event = || result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
            let (arrived, used) = (event()?, event()?);
            Ok(Lane { pinned: std::ptr::null_mut(), capacity: 0, arrived, used })
        };
        Ok(Sender { stream, lanes: Mutex::new([lane()?, lane()?]) })
    }

    /// # Safety
    /// As for `Device::send`; `compute` is the stream of what runs behind.
    pub unsafe fn send(
        &self,
        lane: usize,
        parts: &[(&[u8], Address)],
        compute: sys::CUstream,
    ) -> Driven<()> {
        let mut lanes = self.lanes.lock().unwrap_or_else(|broken| broken.into_inner());
        let lane = &mut lanes[lane % LANES];
        let bytes = parts.iter().map(|(from, _)| from.len()).sum();
        let wait = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: the events are the lane's own; an event that was never recorded is not waited
        // for. The pinned memory is written once the copies out of it have arrived.
        unsafe {
            result::event::synchronize(lane.arrived)?;
            lane.reserve(bytes)?;
            result::stream::wait_event(self.stream, lane.used, wait)?;
            let mut at = lane.pinned;
            for (from, to) in parts {
                std::ptr::copy_nonoverlapping(from.as_ptr(), at, from.len());
                let pinned = std::slice::from_raw_parts(at, from.len());
                result::memcpy_htod_async(to.0, pinned, self.stream)?;
                at = at.add(from.len());
            }
            result::event::record(lane.arrived, self.stream)?;
            result::stream::wait_event(compute, lane.arrived, wait)
        }
    }

    pub fn sent(&self, lane: usize, compute: sys::CUstream) -> Driven<()> {
        let lanes = self.lanes.lock().unwrap_or_else(|broken| broken.into_inner());
        // SAFETY: the event is the lane's own.
        unsafe { result::event::record(lanes[lane % LANES].used, compute) }
    }
}

impl Lane {
    /// # Safety
    /// Nothing reads the memory.
    unsafe fn reserve(&mut self, bytes: usize) -> Driven<()> {
        if bytes <= self.capacity {
            return Ok(());
        }
        // SAFETY: the caller's.
        unsafe { self.release() };
        // SAFETY: it is released by `release` alone.
        self.pinned = unsafe { result::malloc_host(bytes, 0) }?.cast();
        self.capacity = bytes;
        Ok(())
    }

    unsafe fn release(&mut self) {
        if self.capacity > 0 {
            // SAFETY: it came from `malloc_host`.
            let _ = unsafe { result::free_host(self.pinned.cast()) };
        }
        (self.pinned, self.capacity) = (std::ptr::null_mut(), 0);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let lanes = self.lanes.get_mut().unwrap_or_else(|broken| broken.into_inner());
        // SAFETY: once the stream has come to its end nobody uses what is destroyed.
        unsafe {
            let _ = result::stream::synchronize(self.stream);
            for lane in lanes {
                lane.release();
                let _ = result::event::destroy(lane.arrived);
                let _ = result::event::destroy(lane.used);
            }
            let _ = result::stream::destroy(self.stream);
        }
    }
}
