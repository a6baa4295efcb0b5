"""Where runs are made: in threads of this process, each on its share of the cores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch

from proprelu.train import Logger

__all__ = ["Executor", "LocalThreads"]

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class Executor(Protocol):
    """Makes runs somewhere."""

    def run(
        self,
        tasks: Sequence[_Task],
        work: Callable[[_Task, Logger], _Result],
        watch: Callable[[_Task], Logger],
    ) -> Generator[_Result, None, None]:
        """The results, as they come.

        Args:
            tasks: what is to be done.
            work: does one, and reports its progress.
            watch: makes what the progress of a task is reported to.

        The first error of a task ends the others, and is raised; so does leaving the iteration.
        """


class LocalThreads:
    """Threads of this process. The loop of the core holds no lock of Python while it trains.

    A small network gains more from training beside others than from more threads of its own.

    Args:
        workers: how many tasks run at a time; torch's threads are divided among them.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(
        self,
        tasks: Sequence[_Task],
        work: Callable[[_Task, Logger], _Result],
        watch: Callable[[_Task], Logger],
    ) -> Generator[_Result, None, None]:
        """See ``Executor``."""
        stop = threading.Event()
        share = torch.get_num_threads() // max(1, self.workers)
        with _threads_of_torch(share), ThreadPoolExecutor(self.workers) as pool:
            futures: set[Future[_Result]] = set()
            with _ended(futures, stop):
                for task in tasks:
                    futures.add(pool.submit(work, task, _Stoppable(watch(task), stop)))
                yield from _as_completed(futures)


class _Stoppable:
    """Passes on what a training reports, and ends it when it is told to."""

    def __init__(self, logger: Logger, stop: threading.Event) -> None:
        self._logger, self._stop = logger, stop

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None:
        self._logger.on_fit_start(total_epochs, steps_per_epoch)

    def on_step(self, event: Mapping[str, Any]) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._logger.on_step(event)

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        self._logger.on_epoch(dict(row))

    def on_fit_end(self) -> None:
        self._logger.on_fit_end()


def _as_completed(futures: set[Future[_Result]]) -> Iterator[_Result]:
    pending = set(futures)
    while pending:  # a wait without an end would hold Ctrl-C back
        done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


@contextmanager
def _ended(futures: set[Future[_Result]], stop: threading.Event) -> Iterator[None]:
    """Stop the tasks at the end, and wait until they have stopped, also if Ctrl-C comes again.

    A program that ends while a thread is in the loop of the core would crash. Joining the threads
    would not do: a join that is interrupted counts its thread as ended.
    """
    try:
        yield
    finally:
        again: KeyboardInterrupt | None = None
        while True:
            try:
                stop.set()
                for future in futures:
                    future.cancel()
                wait(futures)
                break
            except KeyboardInterrupt as interrupt:
                again = interrupt
        if again is not None:
            raise again


@contextmanager
def _threads_of_torch(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)
