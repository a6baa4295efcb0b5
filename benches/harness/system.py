"""A system: a way to train, and the process in which it runs."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from works.steps import Work

from harness.child import BENCHES, CannotRun, Child, python_command

PROPRELU = "proprelu"
# The heap never shrinks, nothing is mapped separately, and pages are huge: by default glibc maps
# every large activation anew, with a page fault for each of its pages.
_TUNED_GLIBC = {
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TOP_PAD_": str(2**28),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
_TCMALLOC_PACKAGE = "libtcmalloc-minimal4"
_TCMALLOC_FILES = ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4")
# Free memory that has to be left before one more system is started.
_SPARE_MIB = 1500


@dataclass(frozen=True)
class System:
    """One way to train.

    Attributes:
        kind: "torch", "proprelu", "jax" or "burn".
        precision: "fp32" or "bf16", for the convolutions; the rest is float32 in all systems.
        module: its `serve` runs the steps in the child.
        channels_last: memory format, for PyTorch.
        compiled: mode of `torch.compile`, or "" for eager.
        feed: where the batches of PyTorch's systems come from: "memory" for one batch in memory,
            "loader" for a DataLoader, "resident" for a data set on the GPU.
        allocator: "", "glibc tuned" or "tcmalloc".
        conv_algorithm: setting of proprelu's trainer, as `memory`.
        package: the folder of another build of proprelu to import, or "".
        network: in inference, what runs: "original", "folded", "converted" or "merged".
    """

    name: str
    kind: str
    precision: str
    module: str
    channels_last: bool = True
    compiled: str = ""
    feed: str = "memory"
    allocator: str = ""
    conv_algorithm: str = "auto"
    memory: str = "auto"
    package: str = ""
    network: str = ""

    @property
    def is_ours(self) -> bool:
        return self.kind == PROPRELU

    def trains(self, work: Work) -> bool:
        return self.kind in ("torch", PROPRELU) or work.is_small_resnet

    def missing(self) -> str | None:
        """Why it cannot run here, or None. The child may find other reasons."""
        if self.allocator == "tcmalloc" and _tcmalloc() is None:
            return f"no tcmalloc: apt-get install {_TCMALLOC_PACKAGE}"
        if self.kind == "jax" and _jax_python() is None:
            return (
                "no jax: python -m venv jax && jax/bin/pip install jax, then set "
                "PROPRELU_BENCH_JAX to jax/bin/python"
            )
        if self.kind == "burn" and not _burn_binary().exists():
            return "not built: cargo build --release --manifest-path benches/burn/Cargo.toml"
        free = _free_mib()
        if free < _SPARE_MIB:
            return f"{free} MiB of memory are left; name fewer systems with --systems"
        return None

    def start(self, device: str, seconds: int = 0, **arguments: Any) -> Child:
        """Start its process.

        Args:
            device: "cpu" or "cuda".
            seconds: time that it has to get ready; 0 for any.
            arguments: more arguments of `serve`.

        Raises:
            CannotRun: it cannot run here, or failed.
        """
        reason = self.missing()
        if reason is not None:
            raise CannotRun(reason)
        if self.kind == "burn":
            command = [str(_burn_binary()), arguments["folder"]]
        else:
            python = _jax_python() if self.kind == "jax" else None
            settings = {"system": asdict(self), "device": device, **arguments}
            command = python_command(python or sys.executable, self.module, settings, seconds)
        return Child(command, self._environment(device))

    def _environment(self, device: str) -> Mapping[str, str]:
        environment = dict(os.environ)
        if self.package:
            paths = [self.package, environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        if device == "cpu":
            # Compile in one process: a pool's other processes would stay, with their memory.
            environment.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        if self.allocator == "glibc tuned":
            environment.update(_TUNED_GLIBC)
        library = _tcmalloc()
        if self.allocator == "tcmalloc" and library is not None:
            environment["LD_PRELOAD"] = str(library)
            # It would report each large block on standard error.
            environment["TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD"] = str(2**40)
        return environment


# The child that computes the floor of a training step and the reference losses.
STEP_FLOOR = System("floor", "torch", "fp32", "systems.step_floor")


def _tcmalloc() -> Path | None:
    """The library to preload."""
    folders = [*Path("/usr/lib").glob("*-linux-gnu"), Path("/usr/lib64"), Path("/usr/lib")]
    files = (folder / name for name in _TCMALLOC_FILES for folder in folders)
    return next((file for file in files if file.exists()), None)


def _jax_python() -> Path | None:
    """The interpreter with jax: PROPRELU_BENCH_JAX, else this one."""
    given = os.environ.get("PROPRELU_BENCH_JAX")
    if given:
        return Path(given)
    return Path(sys.executable) if importlib.util.find_spec("jax") else None


def _burn_binary() -> Path:
    """Where cargo puts the peer in `benches/burn`."""
    target = os.environ.get("PROPRELU_BENCH_BURN_TARGET") or BENCHES / "burn" / "target"
    return Path(target) / "release" / "burn-step"


def _free_mib() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if "MemAvailable" in line)
