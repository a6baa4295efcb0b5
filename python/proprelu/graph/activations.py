"""Which modules, functions and methods are activations, and by what name."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import fx, nn

from proprelu.graph.calls import argument, arguments, calls, function_inplace

# What a ratio counts, unless more are asked for.
RECTIFIERS = ("relu", "relu6")

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "prelu": F.prelu,
    "elu": F.elu,
    "celu": F.celu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "hardswish": F.hardswish,
}

_MODULES: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.PReLU: "prelu",
    nn.ELU: "elu",
    nn.CELU: "celu",
    nn.SELU: "selu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Mish: "mish",
    nn.Hardswish: "hardswish",
}

_OTHER_NAMES = {
    torch.relu: "relu", torch.relu_: "relu", torch.prelu: "prelu",
    torch.celu: "celu", torch.celu_: "celu", torch.selu: "selu", torch.selu_: "selu",
    F.relu_: "relu", F.leaky_relu_: "leaky_relu", F.elu_: "elu", F.celu_: "celu",
    F.selu_: "selu",
}  # fmt: skip

_BY_FUNCTION = {function: kind for kind, function in FUNCTIONS.items()} | _OTHER_NAMES


_FIRST_SETTING = {"prelu": "weight", "leaky_relu": "negative_slope"}
_SETTINGS = ("negative_slope", "alpha", "approximate")


class Activation(NamedTuple):
    """An activation: ``kind`` is a key of ``FUNCTIONS``."""

    kind: str
    inplace: bool
    dropped: bool = False


def module_activation(module: nn.Module | None) -> Activation | None:
    """The activation that a module is, or stands in the place of."""
    stood_here = getattr(module, "dropped_activation", None)
    if isinstance(stood_here, str):
        return of_mark(stood_here)
    inplace = getattr(module, "inplace", False) is True
    if isinstance(module, nn.Hardtanh):  # ReLU6 is one
        return Activation("relu6", inplace) if (module.min_val, module.max_val) == (0, 6) else None
    kinds = (kind for own, kind in _MODULES.items() if isinstance(module, own))
    kind = next(kinds, None)
    return None if kind is None else Activation(kind, inplace)


def function_activation(node: fx.Node) -> Activation | None:
    """The activation that a called function is."""
    if calls(node, {F.hardtanh, F.hardtanh_}):
        bounds = argument(node, 1, "min_val"), argument(node, 2, "max_val")
        return Activation("relu6", function_inplace(node)) if bounds == (0, 6) else None
    kind = _BY_FUNCTION.get(node.target)  # type: ignore[arg-type]
    return None if kind is None else Activation(kind, function_inplace(node))


def method_activation(name: str) -> Activation | None:
    """The activation that a tensor's method is."""
    if name in ("relu", "relu_", "prelu"):
        return Activation(name.rstrip("_"), name.endswith("_"))
    return None


def module_settings(module: nn.Module) -> dict[str, Any]:
    """What a module's function has to be told to do the same; PReLU's weight is not in it."""
    return {name: getattr(module, name) for name in _SETTINGS if hasattr(module, name)}


def settings(node: fx.Node) -> dict[str, Any]:
    """What a called function or method is told beside its input: a slope, PReLU's weight."""
    if node.op == "call_method":
        return {"weight": node.args[1]} if node.target == "prelu" else {}
    if calls(node, {F.hardtanh, F.hardtanh_}):  # a ReLU6 by its bounds
        return {}
    told: dict[str, Any] = arguments(node)
    if not told:  # of a function of C, whose signature is not known
        name = _FIRST_SETTING.get(_BY_FUNCTION.get(node.target, ""), "alpha")  # type: ignore[arg-type]
        told = dict(zip([name], node.args[1:], strict=False)) | dict(node.kwargs)
    return {key: value for key, value in told.items() if key not in ("input", "inplace")}


def of_mark(stood_here: str) -> Activation:
    """What a mark in the place of an activation tells: its kind, and ``_`` where in place."""
    return Activation(stood_here.rstrip("_"), stood_here.endswith("_"), dropped=True)
