"""Settings of all tests."""

import os
from collections.abc import Iterator

import pytest
import torch

# Which kernel wins a race would depend on what else the machine does. Child processes inherit it.
os.environ["PROPRELU_AUTOTUNE"] = "0"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
