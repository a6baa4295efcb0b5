"""Launches single CUDA kernels, on a GPU or on the CPU.

For the CPU the sources are compiled as C++, with ``host.h`` as a replacement for CUDA.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from proprelu import _core
from torch import Tensor

SOURCES = Path(__file__).parents[3] / "src" / "kernels" / "cuda"
_COMPILER = ["c++", "-std=c++17", "-O1", "-fPIC", "-shared", "-ffp-contract=off"]
_LINKER = ["-Wl,-Bsymbolic"]  # a kernel may have the name of a function that is already loaded
_WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-function"]

Shape = Sequence[int]
Argument = Tensor | int | float | None | ctypes.Structure
Values = Sequence[Any]


class Backend(Protocol):
    """Runs kernels.

    Attributes:
        device: the device of all tensors.
        threads: the threads of a block.
    """

    device: str
    threads: int

    def launch(
        self, entry: str, grid: Shape, block: Shape, values: Values, reversed_order: bool
    ) -> None:
        """Run a kernel and wait for it."""


class OnCpu:
    """Runs the kernels of a source on the CPU, compiled as C++."""

    device = "cpu"
    # Few threads, so that small data has several blocks and the tests are fast.
    threads = 32

    def __init__(self, source: str, folder: Path) -> None:
        text, entries = _core.cuda_source(source)
        launchers = (
            f'extern "C" int launch_{entry}(const unsigned* grid, const unsigned* block, '
            f"int reversed, void** arguments) {{\n"
            f"    return host::launch({entry}, grid, block, reversed, arguments);\n}}\n"
            for entry in entries
        )
        file = folder / f"{source}.cpp"
        file.write_text('#include "host.h"\n' + text + "".join(launchers))
        library = folder / f"{source}.so"
        options = [*_COMPILER, *_LINKER, *_WARNINGS, f"-DTHREADS={self.threads}", f"-I{SOURCES}"]
        subprocess.run([*options, str(file), "-o", str(library)], check=True)
        self._library = ctypes.CDLL(str(library))

    def launch(
        self, entry: str, grid: Shape, block: Shape, values: Values, reversed_order: bool
    ) -> None:
        pointers = [ctypes.cast(ctypes.pointer(value), ctypes.c_void_p) for value in values]
        array = (ctypes.c_void_p * len(values))(*pointers)
        shapes = [(ctypes.c_uint * 3)(*shape) for shape in (grid, block)]
        function = getattr(self._library, f"launch_{entry}")
        missed = function(*shapes, int(reversed_order), array)
        assert missed == 0, f"{entry}: threads of a block missed a barrier"


class OnGpu:
    """Runs the kernels of a source on the GPU, which chooses the order of threads itself."""

    device = "cuda"
    threads = 256

    def __init__(self, source: str, folder: Path) -> None:
        self._source = source
        torch.cuda.init()
        self._driver = _core.CudaDevice(0, torch.cuda.current_stream().cuda_stream, folder)

    def launch(
        self, entry: str, grid: Shape, block: Shape, values: Values, reversed_order: bool
    ) -> None:
        arguments = [bytes(value) for value in values]
        self._driver.launch(self._source, entry, list(grid), list(block), arguments)
        torch.cuda.synchronize()


class Kernels:
    """The kernels of one source."""

    def __init__(self, source: str, backend: Backend) -> None:
        text, entries = _core.cuda_source(source)
        self._backend = backend
        self._types = {entry: _parameter_types(text, entry) for entry in entries}
        self.device = backend.device
        self.threads = backend.threads

    def launch(self, entry: str, grid: Shape, block: Shape, *arguments: Argument) -> None:
        """Run a kernel with threads and blocks in both orders, and compare the results."""
        tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
        before = [tensor.clone() for tensor in tensors]
        self.launch_once(entry, grid, block, *arguments)
        first = [tensor.clone() for tensor in tensors]
        for tensor, old in zip(tensors, before, strict=True):
            tensor.copy_(old)
        self.launch_once(entry, grid, block, *arguments, reversed_order=True)
        for tensor, expected in zip(tensors, first, strict=True):
            both_nan = (tensor != tensor) & (expected != expected)
            same = (tensor == expected) | both_nan
            assert bool(same.all()), f"{entry}: the order of threads changes the result"

    def launch_once(
        self,
        entry: str,
        grid: Shape,
        block: Shape,
        *arguments: Argument,
        reversed_order: bool = False,
    ) -> None:
        """Run a kernel in one order."""
        kinds = self._types[entry]
        assert len(kinds) == len(arguments), f"{entry} has {len(kinds)} parameters: {kinds}"
        values = [self._value(kind, a) for kind, a in zip(kinds, arguments, strict=True)]
        shapes = [(*shape, *[1] * (3 - len(shape))) for shape in (grid, block)]
        self._backend.launch(entry, *shapes, values, reversed_order)

    def _value(self, kind: str, argument: Argument) -> Any:
        if "*" in kind:
            assert argument is None or isinstance(argument, Tensor), f"{kind} needs a tensor"
            assert argument is None or argument.device.type == self.device
            return ctypes.c_void_p(None if argument is None else argument.data_ptr())
        if isinstance(argument, ctypes.Structure):
            return argument
        return _NUMBERS[kind](argument)


_NUMBERS: dict[str, Any] = {
    "int": ctypes.c_int,
    "i64": ctypes.c_longlong,
    "u64": ctypes.c_ulonglong,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}


def _parameter_types(text: str, entry: str) -> list[str]:
    """The types of a kernel's parameters, from its declaration or from its macro."""
    for match in re.finditer(r'extern "C" __global__ void ([\w#]+)\(([^)]*)\)', text):
        pattern = re.sub(r"(##\w+)+", r".+", match[1])
        if re.fullmatch(pattern, entry):
            parameters = match[2].replace("\\", " ").split(",")
            return [" ".join(parameter.split()[:-1]) for parameter in parameters]
    raise AssertionError(f"no {entry}")
