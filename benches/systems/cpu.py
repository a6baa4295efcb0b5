"""The systems on a CPU: PyTorch's configurations with three allocators, JAX, burn, proprelu."""

from __future__ import annotations

from dataclasses import replace

from harness.system import PROPRELU, System


def torch_system(precision: str, way: str = "eager", layout: str = "channels_last") -> System:
    """A configuration of PyTorch with the default allocator."""
    return System(
        f"torch {way} {layout} {precision}",
        "torch",
        precision,
        "systems.torch_step",
        channels_last=layout == "channels_last",
        compiled="default" if way == "compile" else "",
    )


def with_allocator(system: System, allocator: str) -> System:
    return replace(system, name=f"{system.name} + {allocator}", allocator=allocator)


_TORCH = (
    torch_system("fp32", layout="NCHW"),
    torch_system("fp32"),
    torch_system("bf16"),
    torch_system("fp32", "compile"),
    torch_system("bf16", "compile"),
)
TORCH_FP32 = torch_system("fp32")
OURS_FP32 = System("proprelu fp32", PROPRELU, "fp32", "systems.proprelu_step")
OURS = System("proprelu bf16", PROPRELU, "bf16", "systems.proprelu_step")
OURS_DIRECT = replace(OURS, name="proprelu bf16 direct", conv_algorithm="direct")
# With one algorithm wherever it is possible, instead of the fastest for each convolution.
OURS_SINGLE = (
    OURS_DIRECT,
    replace(OURS, name="proprelu bf16 winograd", conv_algorithm="winograd"),
    replace(OURS, name="proprelu bf16 torch's convolutions", conv_algorithm="torch"),
)
CPU_SYSTEMS = (
    *_TORCH,
    *(with_allocator(system, name) for name in ("glibc tuned", "tcmalloc") for system in _TORCH),
    System("jax fp32", "jax", "fp32", "systems.jax_step"),
    System("jax bf16", "jax", "bf16", "systems.jax_step"),
    System("burn fp32", "burn", "fp32", ""),
    OURS_FP32,
    OURS,
    *OURS_SINGLE,
    replace(OURS, name="proprelu bf16 normal memory", memory="normal"),
    replace(
        OURS,
        name="proprelu bf16 in torch.compile",
        module="systems.torch_step",
        compiled="default",
    ),
)
