"""Who trains: PyTorch's configurations with three allocators, JAX, burn, and ours.

A system is a program and the environment it starts in; what cannot run here says why.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from side_by_side.works import Work

BENCHES = Path(__file__).parents[1]
OURS = "proprelu"

# Nothing is given back to the kernel or mapped anew, and the heap is of huge pages: by default
# glibc maps every large activation afresh, and each of its pages is a fault.
TUNED_GLIBC = {
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TOP_PAD_": str(2**28),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
_TCMALLOC_PACKAGE = "libtcmalloc-minimal4"
_TCMALLOC_FILES = ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4")


@dataclass(frozen=True)
class System:
    """One way to train.

    Attributes:
        kind: "torch", "proprelu", "jax" or "burn".
        precision: "fp32" or "bf16": of the convolutions; the rest is float32 in all.
        channels_last: of the kind "torch".
        compiled: by torch.compile; of ours, as the backend in PyTorch's loop.
        allocator: "", "glibc tuned" or "tcmalloc".
        direct: our convolutions all by direct kernels; else whatever kernel is fastest.
        memory: of our trainer.
    """

    kind: str
    precision: str
    channels_last: bool = True
    compiled: bool = False
    allocator: str = ""
    direct: bool = False
    memory: str = "auto"

    @property
    def name(self) -> str:
        if self.kind != "torch":
            options = " direct" * self.direct
            options += f" {self.memory} memory" * (self.memory != "auto")
            way = " in torch.compile" * self.compiled
            return f"{self.kind} {self.precision}{options}{way}"
        way = "compile" if self.compiled else "eager"
        layout = "channels_last" if self.channels_last else "NCHW"
        allocator = f" + {self.allocator}" if self.allocator else ""
        return f"torch {way} {layout} {self.precision}{allocator}"

    @property
    def is_ours(self) -> bool:
        return self.kind == OURS

    def trains(self, work: Work) -> bool:
        return self.kind in ("torch", OURS) or work.is_small_resnet

    def missing(self) -> str | None:
        """Why it cannot run here; `None` if it can. A child may find other reasons."""
        if self.allocator == "tcmalloc" and tcmalloc() is None:
            return f"no tcmalloc: apt-get install {_TCMALLOC_PACKAGE}"
        if self.kind == "jax" and jax_python() is None:
            return (
                "no jax: python -m venv jax && jax/bin/pip install jax, then set "
                "PROPRELU_BENCH_JAX to jax/bin/python"
            )
        if self.kind == "burn" and not burn_binary().exists():
            return "not built: cargo build --release --manifest-path benches/burn/Cargo.toml"
        return None

    def command(self, work: Work, folder: Path) -> list[str]:
        """The child's command line; `folder` has the start for those that do not have torch."""
        here = BENCHES / "side_by_side"
        if self.kind == "burn":
            return [str(burn_binary()), str(folder)]
        if self.kind == "jax":
            return [str(jax_python()), str(here / "jax_child.py"), str(folder), self.precision]
        return [sys.executable, str(here / "torch_child.py"), work.name, self.name]

    def full_environment(self) -> dict[str, str]:
        """What the child's process starts with."""
        environment = dict(os.environ)
        paths = [str(BENCHES), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        # Compiling in one process: the helpers of a pool would stay, with their memory.
        environment.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        if self.allocator == "glibc tuned":
            environment.update(TUNED_GLIBC)
        library = tcmalloc()
        if self.allocator == "tcmalloc" and library is not None:
            environment["LD_PRELOAD"] = str(library)
            # Else it reports each large block on standard error.
            environment["TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD"] = str(2**40)
        return environment


def tcmalloc() -> Path | None:
    """The library that is preloaded."""
    folders = [*Path("/usr/lib").glob("*-linux-gnu"), Path("/usr/lib64"), Path("/usr/lib")]
    files = (folder / name for name in _TCMALLOC_FILES for folder in folders)
    return next((file for file in files if file.exists()), None)


def jax_python() -> Path | None:
    """The interpreter that has jax: of PROPRELU_BENCH_JAX, else this one."""
    given = os.environ.get("PROPRELU_BENCH_JAX")
    if given:
        return Path(given)
    return Path(sys.executable) if importlib.util.find_spec("jax") else None


def burn_binary() -> Path:
    """Where cargo puts the peer in benches/burn."""
    target = os.environ.get("PROPRELU_BENCH_BURN_TARGET") or BENCHES / "burn" / "target"
    return Path(target) / "release" / "burn-step"


_TORCH = (
    System("torch", "fp32", channels_last=False),
    System("torch", "fp32"),
    System("torch", "bf16"),
    System("torch", "fp32", compiled=True),
    System("torch", "bf16", compiled=True),
)
SYSTEMS = (
    *_TORCH,
    *(
        replace(system, allocator=allocator)
        for allocator in ("glibc tuned", "tcmalloc")
        for system in _TORCH
    ),
    System("jax", "fp32"),
    System("jax", "bf16"),
    System("burn", "fp32"),
    System(OURS, "fp32"),
    System(OURS, "bf16"),
    System(OURS, "bf16", direct=True),
    System(OURS, "bf16", memory="normal"),
    System(OURS, "bf16", compiled=True),
)


def system_named(name: str) -> System:
    """The system of that name."""
    return next(system for system in SYSTEMS if system.name == name)
