//! Runs the tasks of a kernel on the threads of a pool.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::OnceLock;

use crate::error::{Error, Result};

/// A pool of threads. The engine passes ATen's own, so that `torch.set_num_threads` applies.
pub trait Parallel: Sync {
    /// The largest number of tasks that run at once.
    fn threads(&self) -> usize;

    /// Calls `task` once with each number below `tasks`, in any order, on any threads, and returns
    /// when all calls have returned.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
}

/// One task after the other on the caller's thread.
pub struct Serial;

impl Parallel for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }
}

/// Runs all tasks.
///
/// # Errors
/// The pool did not call each task once.
pub(crate) fn run_all(
    parallel: &dyn Parallel,
    tasks: usize,
    task: impl Fn(usize) + Sync,
) -> Result<()> {
    let done = AtomicUsize::new(0);
    parallel.run(tasks, &|index| {
        task(index);
        done.fetch_add(1, Ordering::Relaxed);
    });
    match done.into_inner() {
        got if got == tasks => Ok(()),
        got => Err(Error::TasksLost { expected: tasks, got }),
    }
}

/// As `run_all`, with tasks that may fail.
///
/// # Errors
/// A task has failed, or the pool did not call each task once.
pub(crate) fn try_all(
    parallel: &dyn Parallel,
    tasks: usize,
    task: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    let failure = OnceLock::new();
    run_all(parallel, tasks, |index| {
        if let Err(error) = task(index) {
            // The first failure is enough.
            let _ = failure.set(error);
        }
    })?;
    failure.into_inner().map_or(Ok(()), Err)
}

/// As `run_all`, with each thread's share of the tasks in reverse order: the data that the previous
/// pass read last is still in that thread's cache. Shares are cut as ATen's pool cuts them; with
/// another pool the order is only less favorable.
///
/// Reversing the order of all tasks would instead give each thread the share of another one.
pub(crate) fn run_all_backward(
    parallel: &dyn Parallel,
    tasks: usize,
    task: impl Fn(usize) + Sync,
) -> Result<()> {
    let share = tasks.div_ceil(parallel.threads().max(1)).max(1);
    run_all(parallel, tasks, |index| task(mirrored(index, share, tasks)))
}

/// The number which is as far from the end of its share as `index` is from the start.
fn mirrored(index: usize, share: usize, tasks: usize) -> usize {
    let first = index / share * share;
    let end = (first + share).min(tasks);
    first + (end - 1 - index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::Scoped;

    struct Lazy;

    impl Parallel for Lazy {
        fn threads(&self) -> usize {
            1
        }

        fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
            (1..tasks).for_each(task);
        }
    }

    #[test]
    fn every_task_runs_once() {
        for parallel in [&Serial as &dyn Parallel, &Scoped(3)] {
            let counts: Vec<AtomicUsize> = (0..10).map(|_| AtomicUsize::new(0)).collect();
            let count = |i: usize| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            };
            run_all(parallel, 10, count).unwrap();
            assert!(counts.into_iter().all(|count| count.into_inner() == 1));
        }
    }

    #[test]
    fn backward_is_within_each_share() {
        let order: Vec<usize> = (0..7).map(|index| mirrored(index, 3, 7)).collect();
        assert_eq!(order, [2, 1, 0, 5, 4, 3, 6]);
        for (parallel, tasks) in [(&Serial as &dyn Parallel, 5), (&Scoped(3), 10), (&Scoped(4), 2)]
        {
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            let count = |i: usize| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            };
            run_all_backward(parallel, tasks, count).unwrap();
            assert!(counts.into_iter().all(|count| count.into_inner() == 1));
        }
    }

    #[test]
    fn a_lost_task_is_an_error() {
        let message = run_all(&Lazy, 4, |_| ()).unwrap_err().to_string();
        assert!(message.contains("ran 3 of 4 tasks"), "{message}");
    }

    #[test]
    fn a_failed_task_is_an_error() {
        let fails = |index: usize| match index {
            2 => Err(Error::SingleValue { rows: index }),
            _ => Ok(()),
        };
        assert!(try_all(&Scoped(3), 2, fails).is_ok());
        let message = try_all(&Scoped(3), 4, fails).unwrap_err().to_string();
        assert!(message.contains("got 2"), "{message}");
    }
}
