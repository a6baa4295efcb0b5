"""Convolutions with the tiles of AMX, which the core computes itself where the processor has none.

``PROPRELU_CPU`` is read once, so each setting has a process of its own.
"""

import json
import os
import subprocess
import sys

import proprelu
import pytest
import torch
from proprelu import _core
from torch import nn

TRAIN = """
import copy, json, sys, warnings
warnings.simplefilter("error")
import proprelu, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)

class Block(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.short = nn.Conv2d(channels, out, 1, stride) if channels != out else nn.Identity()

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.short(x))

model = nn.Sequential(
    nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
    Block(16, 16, 1), Block(16, 40, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 5),
)
data = TensorDataset(torch.randn(18, 3, 10, 9), torch.randint(5, (18,)))
result = {}
for algorithm in ("torch", "amx"):
    trained = copy.deepcopy(model)
    trainer = proprelu.Trainer(
        trained, torch.optim.SGD(trained.parameters(), lr=0.05, momentum=0.9),
        schedule="constant", precision="bf16", conv_algorithm=algorithm, progress=False,
    )
    trainer.fit(DataLoader(data, batch_size=6), epochs=2)
    lines = trainer.program.splitlines()[1:]
    result[algorithm] = {
        "losses": [epoch["train_loss"] for epoch in trainer.history],
        "kernels": sorted({tuple(line.split()[1:3]) for line in lines if "conv" in line}),
        "predictions": trainer.predict(data.tensors[0]).tolist(),
    }
print(json.dumps(result))
"""


def _run(setting: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PROPRELU_CPU": setting}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_network_trains_with_emulated_tiles_as_with_torch() -> None:
    run = _run("emulated-amx", "-c", TRAIN)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    found = json.loads(run.stdout)
    assert found["amx"]["losses"] == pytest.approx(found["torch"]["losses"], rel=0.02)
    difference = torch.tensor(found["amx"]["predictions"]) - torch.tensor(
        found["torch"]["predictions"]
    )
    assert difference.abs().max() < 0.1
    kernels = {tuple(kernel) for kernel in found["amx"]["kernels"]}
    for product in ("convolution", "convolution_grad_weight", "convolution_grad_input"):
        assert {kernel for op, kernel in kernels if op == product} == {"amx"}, product
    # It applies the batch norm before it while loading.
    assert ("load_convolution", "amx") in kernels


def test_a_machine_without_tiles_refuses_them() -> None:
    if "emulated" in _core.build_info()["cpu_amx"] or _core.build_info()["cpu_amx"] == "used":
        pytest.skip("this machine has tiles")
    trainer = proprelu.Trainer(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)),
        precision="bf16",
        conv_algorithm="amx",
        progress=False,
    )
    data = torch.utils.data.TensorDataset(torch.randn(4, 1, 4, 4), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(ValueError, match=r'"amx" needs AMX, which is not used: .*; use "auto"'):
        trainer.fit(torch.utils.data.DataLoader(data, batch_size=2), epochs=1)


def test_doctor_says_what_limits_the_kernels() -> None:
    run = _run("avx2", "-m", "proprelu", "doctor", "--json")
    found = json.loads(run.stdout)
    assert found["cpu_level"] in ("avx2", "portable")
    assert found["amx"].startswith("not used: ")
    emulated = json.loads(_run("emulated-amx", "-m", "proprelu", "doctor", "--json").stdout)
    assert emulated["amx"] == "emulated: PROPRELU_CPU=emulated-amx"


def test_an_unknown_level_is_one_line() -> None:
    run = _run("sse9", "-c", "import proprelu")
    assert run.returncode == 1
    line = run.stderr.splitlines()[-1]
    assert line.startswith("ImportError: PROPRELU_CPU must be portable, ")
    assert line.endswith('got "sse9"')
    command = _run("sse9", "-m", "proprelu", "doctor")
    assert (command.returncode, command.stderr) == (1, "")
    assert "PROPRELU_CPU must be portable, " in command.stdout
