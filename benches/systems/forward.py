"""The forward of a trained network: as it is, with batch norms folded, converted, or merged."""

from __future__ import annotations

import time
from copy import deepcopy
from typing import Any

import proprelu
import torch
from harness.floor import serve_floor
from harness.memory import peak_memory
from harness.system import System
from harness.talk import Talk
from torch import Tensor, nn
from torch.fx.experimental import optimization
from works.inference import LINEAR_BLOCKS
from works.start import make_model
from works.steps import Work

from systems.inference import INFERENCE_FLOOR
from systems.step_floor import forward_cost_of

_MEMORY_STEPS = 2


def serve(talk: Talk, system: System, device: str, work: Work, **others: Any) -> None:
    """Check, measure the memory, then answer requests."""
    if system == INFERENCE_FLOOR:
        # Each system has to compute what its own network computes in float64.
        serve_floor(talk, device, forward_cost_of(work), [1.0], {"fp32": [0.0]})
        return
    torch.manual_seed(1)
    x = torch.randn(work.batch, work.channels, work.size, work.size)
    x = x.contiguous(memory_format=torch.channels_last)
    original = trained(work)
    if system.is_ours:
        original = converted(work, original)
    start = time.perf_counter()
    with torch.no_grad():
        network = _network(original, system, x)
        network(x)  # off the clock: compiling, starting threads
        setup = time.perf_counter() - start
        distance = _distance(network(x)[:1], deepcopy(original).double()(x[:1].double()))
        memory = peak_memory(device)
        for _ in range(_MEMORY_STEPS):
            network(x)
        talk.send(
            losses=[1.0 + distance],
            memory=memory.megabytes(),
            setup_s=setup,
            version=torch.__version__,
        )
        for warm, steps in talk.requests():
            for _ in range(warm):
                network(x)
            start = time.perf_counter()
            for _ in range(steps):
                network(x)
            talk.send(ms=1e3 * (time.perf_counter() - start) / steps)


def trained(work: Work) -> nn.Module:
    """The network in evaluation mode, with batch norms as after a training."""
    model = make_model(work)
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.running_var, 0.5), (module.weight, 0.5)):
                tensor.data.uniform_(low, low + 1, generator=generator)  # type: ignore[union-attr]
            for tensor in (module.running_mean, module.bias):
                tensor.data.normal_(0, 0.1, generator=generator)  # type: ignore[union-attr]
    return model.eval()


def converted(work: Work, model: nn.Module) -> nn.Module:
    """The network at its ratio."""
    if work.ratio != LINEAR_BLOCKS:
        return proprelu.convert(model, work.ratio)
    sites = proprelu.plan_for(model, "1:1").sites
    return proprelu.convert(model, "2:1", placement=[".conv." not in s.conv for s in sites])


def _network(model: nn.Module, system: System, x: Tensor) -> nn.Module:
    if system.network == "folded":
        model = optimization.fuse(model)
    if system.network == "merged":
        model = proprelu.merge(model, x)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not system.compiled:
        return model
    torch._inductor.config.freezing = True
    compiled: nn.Module = torch.compile(model, mode=system.compiled, dynamic=False)
    return compiled


def _distance(output: Tensor, exact: Tensor) -> float:
    """The largest error, relative to the largest output."""
    return float((output.double() - exact).abs().max() / exact.abs().max())
