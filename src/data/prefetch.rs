//! A thread that produces items ahead of their use.

use std::any::Any;
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{bounded, Receiver, Sender};

use crate::error::{Error, Result};

/// Items that a thread produces ahead of time, with at most `depth` of them in the queue.
///
/// Dropping this ends the thread once it has finished the current item. A panic in the thread
/// becomes the last item, an error.
#[derive(Debug)]
pub struct Prefetch<T> {
    items: Option<Receiver<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts the thread. `produce` sends its items and returns at the end or when sending fails.
    pub fn spawn(depth: usize, produce: impl FnOnce(Sender<T>) + Send + 'static) -> Result<Self> {
        let (sender, items) = bounded(depth);
        let thread = Builder::new()
            .name("proprelu-prefetch".into())
            .spawn(move || produce(sender))
            .map_err(|error| Error::Prefetch { message: format!("it cannot start: {error}") })?;
        Ok(Prefetch { items: Some(items), thread: Some(thread) })
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let received = self.items.as_ref()?.recv();
        received.map(Ok).ok().or_else(|| self.finish().map(Err))
    }
}

impl<T> Prefetch<T> {
    /// Waits for the thread; returns an error if it panicked.
    fn finish(&mut self) -> Option<Error> {
        // The channel is closed first, so that a thread that is blocked in `send` returns.
        self.items = None;
        let panic = self.thread.take()?.join().err()?;
        Some(Error::Prefetch { message: panic_message(panic.as_ref()) })
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.finish();
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Arc;

    use super::*;

    fn count_to(end: usize, made: Arc<AtomicUsize>) -> impl FnOnce(Sender<usize>) {
        move |sender| {
            for i in 0..end {
                made.fetch_add(1, Ordering::SeqCst);
                if sender.send(i).is_err() {
                    return;
                }
            }
        }
    }

    #[test]
    fn gives_every_item_in_order_and_then_stays_empty() {
        let mut items = Prefetch::spawn(2, count_to(100, Arc::default())).unwrap();
        let all: Result<Vec<usize>> = items.by_ref().collect();
        assert_eq!(all.unwrap(), (0..100).collect::<Vec<_>>());
        assert!(items.next().is_none());
    }

    #[test]
    fn dropping_early_ends_the_thread() {
        for taken in 0..4 {
            let made = Arc::new(AtomicUsize::new(0));
            let mut items = Prefetch::spawn(2, count_to(usize::MAX, made.clone())).unwrap();
            (0..taken).for_each(|i| assert_eq!(items.next().unwrap().unwrap(), i));
            drop(items);
            let after = made.load(Ordering::SeqCst);
            // Items taken, in the queue, and in work.
            assert!(after <= taken + 2 + 1);
            assert_eq!(Arc::strong_count(&made), 1, "the thread is gone");
        }
    }

    #[test]
    fn a_panic_is_the_last_item() {
        let mut items = Prefetch::spawn(2, |sender| {
            sender.send(1).unwrap();
            panic!("out of {}", "luck");
        })
        .unwrap();
        assert_eq!(items.next().unwrap().unwrap(), 1);
        let error = items.next().unwrap().unwrap_err().to_string();
        assert_eq!(error, "the prefetch thread stopped: out of luck");
        assert!(items.next().is_none());
    }
}
