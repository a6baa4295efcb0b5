"""Runs that are ended leave no thread behind, however often Ctrl-C comes."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from proprelu.sweep import executor
from proprelu.sweep.executor import LocalThreads
from proprelu.train import Logger


class Silent:
    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None: ...

    def on_step(self, event: Any) -> None: ...

    def on_epoch(self, row: Any) -> None: ...

    def on_fit_end(self) -> None: ...


def test_a_second_interrupt_waits_for_the_tasks_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = threading.Event(), []

    def work(task: int, logger: Logger) -> int:
        begun.set()
        try:
            while True:
                logger.on_step({})
                time.sleep(0.05)
        finally:
            ended.append(task)

    real, calls = executor.wait, 0

    def interrupted(*args: Any, **options: Any) -> Any:
        nonlocal calls
        begun.wait()
        calls += 1
        if calls <= 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(executor, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(LocalThreads(1).run([7, 8], work, lambda task: Silent()))
    assert calls == 4
    assert ended == [7], "the second task has not begun"
