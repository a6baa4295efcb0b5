"""Fake tensors, which have shapes and no data."""

from __future__ import annotations

import functools
import threading

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

__all__ = ["fake_mode"]


def fake_mode() -> FakeTensorMode:
    """A mode in which operations compute shapes only; real tensors may be among the inputs."""
    _keep_device_guard()
    return FakeTensorMode(allow_non_fake_inputs=True)


@functools.cache
def _keep_device_guard() -> None:
    """Give torch a guard for CUDA that outlives the present thread, where there is no GPU.

    The first fake tensor of a process has torch make one in the memory of its thread. When that
    thread has ended, the next fake tensor of another one reads freed memory: the process crashes.
    """
    if torch.cuda.is_available():
        return
    made = threading.Event()

    def hold() -> None:
        torch._C._ensureCUDADeviceGuardSet()
        made.set()
        threading.Event().wait()

    if threading.current_thread() is threading.main_thread():
        torch._C._ensureCUDADeviceGuardSet()
    else:
        threading.Thread(target=hold, name="proprelu-guard", daemon=True).start()
        made.wait()
