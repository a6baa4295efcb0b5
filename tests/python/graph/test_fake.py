"""Fake tensors of threads that have ended."""

from __future__ import annotations

import subprocess
import sys

# In a process of its own, because a process makes its first fake tensor once.
_PROGRAM = """
import threading
import proprelu, torch
from torch import nn

def work():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    head = nn.Sequential(net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    data = torch.zeros(32, 1, 8, 8), torch.zeros(32, dtype=torch.int64)
    proprelu.Trainer(head, progress=False).fit(data, epochs=1, batch_size=32)
    proprelu.convert(net, "2:1", example_input=torch.zeros(1, 1, 8, 8))

for _ in range(2):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
work()
print("done")
"""


def test_a_thread_may_end_that_made_the_first_fake_tensor() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout == "done\n"
