"""What operations cost: in multiplications, or in time as measured on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import nn

from proprelu import _core
from proprelu.atomic import write_text
from proprelu.cache import cache_folder
from proprelu.merge.modules import Form, empty_module
from proprelu.merge.operations import Operation
from proprelu.merge.race import seconds

_COSTS = ("latency", "macs")
_FILE = "merge.json"
_VERSION = 2
# Each operation is run in this many rounds, but no longer than some seconds in all.
_ROUNDS = (3, 15)
_SECONDS = 0.05
# Stored times are wrong if a sample of about this many takes less than this part of them now.
_SAMPLE, _DISTURBED = 16, 0.8
# So many have their weights in memory at the same time.
_AT_ONCE = 64
_NUMBERS = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias",
    "border", "frame",
)  # fmt: skip


class Costs(Protocol):
    """Costs of operations, which can be added."""

    unit: str

    def prepare(self, operations: Iterable[Operation]) -> None:
        """Find the costs of many operations at once."""

    def of(self, operation: Operation) -> float:
        """The cost of an operation."""

    def drift(self, operations: Iterable[Operation]) -> float:
        """How many times as much operations cost now as when their costs were found."""


class Multiplications:
    """Costs in multiplications for one image."""

    unit = "MACs"

    def prepare(self, operations: Iterable[Operation]) -> None:
        pass

    def of(self, operation: Operation) -> float:
        return operation.multiplications

    def drift(self, operations: Iterable[Operation]) -> float:
        return 1.0


class Latency:
    """Costs in milliseconds, measured with PyTorch on this machine and stored.

    Args:
        form: in which the model computes.
    """

    unit = "ms"

    def __init__(self, form: Form) -> None:
        self._form = form
        self._machine = _machine(form)
        self._stored = _read()
        self._found: dict[Operation, float] = {}
        self._checked = False

    def prepare(self, operations: Iterable[Operation]) -> None:
        given = list(operations)
        wanted = dict.fromkeys(each for one in given for each in (_alike(one), _plain(one)))
        for operation in wanted:
            stored = self._stored.get(self._key(operation))
            if stored is not None:
                self._found[operation] = stored
        if self._is_disturbed([operation for operation in wanted if operation in self._found]):
            self._measure(list(self._found))
        self._measure([operation for operation in wanted if operation not in self._found])

    def of(self, operation: Operation) -> float:
        own, plain = _alike(operation), _plain(operation)
        if own not in self._found or plain not in self._found:
            self.prepare([operation])
        # A border cannot save time; where it seems to, the measurement was disturbed.
        return max(self._found[own], self._found[plain])

    def _is_disturbed(self, stored: list[Operation]) -> bool:
        """Whether stored times are of a machine that was busy, as a sample takes less time now."""
        if self._checked or not stored:
            return False
        self._checked = True
        sample = stored[:: 1 + len(stored) // _SAMPLE]
        now = _measured(sample, self._form)
        return sum(now.values()) < _DISTURBED * sum(self._found[each] for each in sample)

    def _measure(self, operations: list[Operation]) -> None:
        """Measure operations and store their times; of several times the shortest is right."""
        for first in range(0, len(operations), _AT_ONCE):
            some = operations[first : first + _AT_ONCE]
            for operation, found in _measured(some, self._form).items():
                self._found[operation] = min(found, self._found.get(operation, found))
            new = {self._key(operation): self._found[operation] for operation in some}
            self._stored |= new
            _write(new)

    def drift(self, operations: Iterable[Operation]) -> float:
        given = list(dict.fromkeys(map(_alike, operations)))[:_AT_ONCE]
        self.prepare(given)
        now = _measured(given, self._form)
        before = sum(self._found[each] for each in given)
        return sum(now.values()) / before if before else 1.0

    def _key(self, operation: Operation) -> str:
        parts = [_numbers(geometry) for geometry in (operation.geometry, *operation.single)]
        return json.dumps([self._machine, operation.kind, operation.shape, parts])


def _alike(operation: Operation) -> Operation:
    """The operation that is measured: a bias costs nothing."""
    geometry = operation.geometry
    return operation if geometry.border or any(geometry.frame) else _plain(operation)


def _plain(operation: Operation) -> Operation:
    """A convolution with a bias and without a border; any other operation as it is."""
    g = operation.geometry
    if operation.kind != "convolution" or any(g.frame):
        return operation
    sizes = (g.kernel_size, g.stride, g.padding, g.dilation, g.groups)
    geometry = _core.ConvGeometry(g.in_channels, g.out_channels, *sizes)
    return Operation(operation.kind, operation.shape, geometry)


def check_cost(cost: str) -> None:
    """Raise a ``ValueError`` for an unknown name of a cost."""
    if cost not in _COSTS:
        raise ValueError(f'cost must be "latency" or "macs", got {cost!r}')


def costs_by_name(cost: str, form: Form) -> Costs:
    """The costs of a name that ``check_cost`` accepts."""
    return Latency(form) if cost == "latency" else Multiplications()


def _machine(form: Form) -> list[Any]:
    """All that a measured time depends on, besides the operation."""
    info = _core.build_info()
    device = info["cpu"]
    if form.device.type == "cuda":
        device = torch.cuda.get_device_name(form.device)
    order = "channels_last" if form.channels_last else "contiguous"
    return [device, torch.get_num_threads(), torch.__version__, str(form.dtype), order]


def _numbers(geometry: _core.ConvGeometry) -> list[Any]:
    return [getattr(geometry, name) for name in _NUMBERS]


def _measured(operations: list[Operation], form: Form) -> dict[Operation, float]:
    """The shortest times in milliseconds.

    All operations run in turn, so that a disturbance hits them alike, and the caches do not hold
    what they read.
    """
    calls = {operation: _call(operation, form) for operation in operations}
    times = {operation: [call()] for operation, call in calls.items()}
    for found in times.values():
        found.clear()
    for round_ in range(_ROUNDS[1]):
        for operation, call in calls.items():
            if round_ < _ROUNDS[0] or sum(times[operation]) < _SECONDS:
                times[operation].append(call())
    return {operation: 1e3 * min(found) for operation, found in times.items()}


def _call(operation: Operation, form: Form) -> Callable[[], float]:
    """A function that runs an operation once and returns the seconds that it took."""
    module: Callable[..., Any]
    if operation.kind == "norm":
        module = nn.BatchNorm2d(operation.geometry.in_channels).to(form.device, form.dtype).eval()
    elif operation.kind == "add":
        module = torch.add
    else:
        module = empty_module(operation.geometry, operation.single, form, operation.shape[2:])
    count = 2 if operation.kind == "add" else 1

    def run() -> float:
        ones = torch.ones(operation.shape, device=form.device, dtype=form.dtype)
        inputs = [form.put(ones.clone()) for _ in range(count)]
        with torch.inference_mode():
            return seconds(lambda: module(*inputs), form.device)

    return run


def _read() -> dict[str, float]:
    """The stored times; none if the file cannot be read."""
    try:
        content = json.loads((cache_folder() / _FILE).read_bytes())
        if content["version"] == _VERSION:
            return {str(key): float(value) for key, value in content["times"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {}


def _write(new: dict[str, float]) -> None:
    """Add times to the file, which is a cache and need not be writable."""
    content = {"version": _VERSION, "times": {**_read(), **new}}
    with suppress(OSError):
        write_text(cache_folder() / _FILE, json.dumps(content, indent=1))
