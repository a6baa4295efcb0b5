"""``proprelu doctor``: examines the installation and the machine."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata, util
from typing import Annotated, Any

import torch
import typer

from proprelu import _core
from proprelu._torch_version import BUILT_FOR, matches
from proprelu.cache import cuda_folder
from proprelu.cli import choices
from proprelu.findings import Finding, report

EXTRAS = {"plot": "matplotlib", "vision": "torchvision", "tensorboard": "tensorboard"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Show the stored choices of convolution kernels.")
    ] = False,
    clear: Annotated[
        bool, typer.Option("--clear", help="With --tune: remove the choices instead.")
    ] = False,
) -> None:
    """Show what is installed, what it was built for and what this machine has.

    The exit code is 1 if there is a problem.

    Training times the kernels for each shape of a convolution once and stores the fastest. With
    `--tune` the command shows these choices: the time of the fastest kernel, and the spread of the
    timings, which is high where other programs disturbed them. A choice is provisional where all
    its timings were disturbed; the next training times it again.

    Examples:

    - `proprelu doctor`

    - `proprelu doctor --json | jq .torch`

    - `proprelu doctor --tune`

    - `proprelu doctor --tune --clear`
    """
    if clear and not tune:
        raise typer.BadParameter("--clear removes the stored choices: use it with --tune")
    if tune:
        choices.clear(as_json) if clear else choices.show(as_json)
        return
    findings = examine(torch.__version__, _core.build_info())
    raise typer.Exit(report(findings, as_json))


def examine(torch_version: str, build: Mapping[str, Any]) -> list[Finding]:
    """Examine this machine. The versions of torch are arguments for the tests."""
    return [
        Finding("proprelu", build["version"]),
        Finding("python", f"{platform.python_version()} ({sys.executable})"),
        _torch(torch_version, build["torch"]),
        Finding("built for torch", build["torch"]),
        Finding("built with", f"{build['rustc']}, {build['target']}"),
        _optimized(build["debug"]),
        Finding("cuda", _cuda()),
        *_gpus(),
        _cuda_compiler(),
        Finding("cpu", build["cpu"]),
        Finding("cpu features", ", ".join(build["cpu_features"]) or "none that kernels use"),
        Finding("cpu level", build["cpu_level"]),
        Finding("amx", build["cpu_amx"]),
        Finding("threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors"),
        *(Finding(f"extra {extra}", _version(package)) for extra, package in EXTRAS.items()),
    ]


def _torch(here: str, built_for: str) -> Finding:
    advice = f"built for torch {built_for}; pip install 'torch=={BUILT_FOR}.*'"
    return Finding("torch", here) if matches(here) else Finding("torch", here, False, advice)


def _optimized(debug: bool) -> Finding:
    advice = "a debug build is many times slower; build with --release" if debug else ""
    return Finding("optimized", not debug, not debug, advice)


def _cuda() -> str:
    """The devices, or the reason why none is found."""
    if torch.cuda.is_available():
        names = (torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return f"{torch.version.cuda}: {', '.join(names)}"
    if torch.version.cuda is None:
        return "not seen: this torch is built without CUDA"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "not seen: CUDA_VISIBLE_DEVICES hides all devices"
    if not os.path.exists("/dev/nvidiactl"):
        return f"not seen: torch is built for CUDA {torch.version.cuda}, the machine has no driver"
    return (
        f"not seen: the driver{_driver_version()} does not go with torch's CUDA "
        f"{torch.version.cuda}; install a newer one from NVIDIA"
    )


def _driver_version() -> str:
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8") as file:
            found = re.search(r"\d+\.\d+(\.\d+)?", file.readline())
    except OSError:
        found = None
    return f" {found[0]}" if found else ""


def _gpus() -> list[Finding]:
    """Whether the kernels of the core run on each GPU."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [_gpu(index) for index in range(count)]


def _gpu(index: int) -> Finding:
    try:
        device = _core.CudaDevice(index, 0, cuda_folder())
    except RuntimeError as error:
        return Finding(f"gpu {index}", "cannot be trained on", False, str(error))
    value = f"{device.architecture}, {device.multiprocessors} multiprocessors"
    return Finding(f"gpu {index}", value)


def _cuda_compiler() -> Finding:
    """NVRTC, which compiles the kernels on a machine with a GPU."""
    needed = torch.cuda.is_available()
    try:
        _core.cuda_compile("metrics", 8, 0)
    except RuntimeError as error:
        return Finding("cuda compiler", "not usable", not needed, str(error))
    return Finding("cuda compiler", "libnvrtc, works")


def _version(package: str) -> str:
    if util.find_spec(package) is None:
        return "not installed"
    return f"{package} {metadata.version(package)}"
