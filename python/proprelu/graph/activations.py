"""Recognizes the modules, functions and methods that are activations, and names their kind."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import fx, nn

from proprelu.graph.calls import argument, arguments, calls, function_inplace

# The kinds that a ratio counts by default.
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

# The second positional argument of functions that have no Python signature; "alpha" otherwise.
_FIRST_SETTING = {"prelu": "weight", "leaky_relu": "negative_slope"}
_SETTINGS = ("negative_slope", "alpha", "approximate")


class Activation(NamedTuple):
    """One activation.

    Attributes:
        kind: a key of ``FUNCTIONS``.
        inplace: whether it overwrites its input.
        dropped: whether a conversion has removed it, so that only its mark is left.
    """

    kind: str
    inplace: bool
    dropped: bool = False


def module_activation(module: nn.Module | None) -> Activation | None:
    """The activation that a module applies, or that it replaces; None for any other module."""
    name = getattr(module, "dropped_activation", None)
    if isinstance(name, str):
        return dropped_activation(name)
    inplace = getattr(module, "inplace", False) is True
    if isinstance(module, nn.Hardtanh):  # nn.ReLU6 is a subclass
        return Activation("relu6", inplace) if (module.min_val, module.max_val) == (0, 6) else None
    kinds = (kind for own, kind in _MODULES.items() if isinstance(module, own))
    kind = next(kinds, None)
    return None if kind is None else Activation(kind, inplace)


def function_activation(node: fx.Node) -> Activation | None:
    """The activation that a called function computes, else None."""
    if calls(node, {F.hardtanh, F.hardtanh_}):
        bounds = argument(node, 1, "min_val"), argument(node, 2, "max_val")
        return Activation("relu6", function_inplace(node)) if bounds == (0, 6) else None
    kind = _BY_FUNCTION.get(node.target)  # type: ignore[arg-type]
    return None if kind is None else Activation(kind, function_inplace(node))


def method_activation(name: str) -> Activation | None:
    """The activation that a tensor's method computes, else None."""
    if name in ("relu", "relu_", "prelu"):
        return Activation(name.rstrip("_"), name.endswith("_"))
    return None


def module_settings(module: nn.Module) -> dict[str, Any]:
    """The keyword arguments with which a module's function does the same as the module.

    PReLU's weight is not included: in a graph it is a node of its own.
    """
    return {name: getattr(module, name) for name in _SETTINGS if hasattr(module, name)}


def settings(node: fx.Node) -> dict[str, Any]:
    """The arguments of a called activation other than its input: a slope, PReLU's weight."""
    if node.op == "call_method":
        return {"weight": node.args[1]} if node.target == "prelu" else {}
    if calls(node, {F.hardtanh, F.hardtanh_}):  # with the bounds of ReLU6, which become its kind
        return {}
    given: dict[str, Any] = arguments(node)
    if not given:  # a function written in C, which has no signature to read
        name = _FIRST_SETTING.get(_BY_FUNCTION.get(node.target, ""), "alpha")  # type: ignore[arg-type]
        given = dict(zip([name], node.args[1:], strict=False)) | dict(node.kwargs)
    return {key: value for key, value in given.items() if key not in ("input", "inplace")}


def dropped_activation(name: str) -> Activation:
    """The activation that a mark replaces, from its name; in-place forms end with ``_``."""
    return Activation(name.rstrip("_"), name.endswith("_"), dropped=True)
