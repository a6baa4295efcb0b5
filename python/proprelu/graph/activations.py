"""Recognizes the modules, functions and methods that are activations, and names their kind.

A call is read in the same way in a trace, where its arguments are nodes, and while a model runs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from proprelu.graph.calls import aten
from proprelu.graph.dropped import dropped
from proprelu.graph.functions import FUNCTIONS
from proprelu.graph.sloped import sloped

# The kinds that a ratio counts by default.
RECTIFIERS = ("relu", "relu6")

# The family of calls that only their second argument makes a ReLU, and that of the marks.
MAXIMUM, MARK = "maximum", "mark"

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
_SETTINGS = ("negative_slope", "alpha", "approximate")
_BOUNDS = {(0, None): "relu", (0, 6): "relu6"}


class Activation(NamedTuple):
    """One activation.

    Attributes:
        kind: a key of ``FUNCTIONS``.
        inplace: whether it overwrites its input.
        dropped: whether it is not applied: a conversion has removed it.
    """

    kind: str
    inplace: bool
    dropped: bool = False


class _Form(NamedTuple):
    """How a function is called that computes an activation.

    Attributes:
        family: the kind, or what the kind is decided by: ``"clamp"``, ``"threshold"``.
        names: the names of the arguments after the input.
        inplace: whether it always overwrites its input.
    """

    family: str
    names: tuple[str, ...] = ()
    inplace: bool = False


# The arguments after the input, by the name of the operation.
_ARGUMENTS = {
    "relu": (), "relu6": (), "selu": (), "silu": (), "mish": (), "hardswish": (),
    "leaky_relu": ("negative_slope",), "prelu": ("weight",), "gelu": ("approximate",),
    "elu": ("alpha",), "celu": ("alpha",), "threshold": ("threshold", "value"),
    "clamp": ("min", "max"), "clip": ("min", "max"), "clamp_min": ("min",),
    "hardtanh": ("min_val", "max_val"), "maximum": ("other",), "max": ("other",),
}  # fmt: skip
_FAMILIES = {
    "clip": "clamp", "clamp_min": "clamp", "hardtanh": "clamp",
    "maximum": MAXIMUM, "max": MAXIMUM,
}  # fmt: skip


def _forms() -> dict[Any, _Form]:
    forms: dict[Any, _Form] = {}
    for name, names in _ARGUMENTS.items():
        family = _FAMILIES.get(name, name)
        for operation in (name, f"{name}_"):
            form = _Form(family, names, operation.endswith("_"))
            forms |= dict.fromkeys(_functions(operation), form)
        function = getattr(F, name, None)
        if "inplace" in getattr(getattr(function, "__code__", None), "co_varnames", ()):
            forms[function] = _Form(family, (*names, "inplace"))
    return forms | dict.fromkeys((dropped, sloped), _Form(MARK, ("activation", "slope")))


def _functions(operation: str) -> set[Any]:
    """All functions of torch that call an operation of ATen."""
    places = (torch, Tensor, F, torch._C._nn)
    return {getattr(p, operation) for p in places if hasattr(p, operation)} | aten(operation)


_FORMS = _forms()


def family_of(
    function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[str, _Form] | None:
    """The family of a call that may be an activation, else None.

    The family is the kind, ``MAXIMUM`` or ``MARK``.
    """
    try:
        form = _FORMS.get(function)
    except TypeError:  # not hashable
        return None
    if form is None or kwargs.get("out") is not None:
        return None
    family: str | None = form.family
    if family in ("clamp", "threshold", MAXIMUM):
        family = _by_values(form, args, kwargs)
    return None if family is None else (family, form)


def is_maximum(function: Any) -> bool:
    """Whether a function is a maximum, which is a ReLU if its second argument is zero."""
    return function is not None and function in _FORMS and _FORMS[function].family == MAXIMUM


def _by_values(form: _Form, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    given = _given(form, args, kwargs)
    if form.family == MAXIMUM:  # `max` also reduces
        return MAXIMUM if isinstance(given.get("other"), (Tensor, fx.Node, fx.Proxy)) else None
    if form.family == "threshold":
        both = given.get("threshold"), given.get("value")
        return "relu" if all(map(_is_number, both)) and both == (0, 0) else None
    low, high = given.get("min", given.get("min_val", -1)), given.get("max", given.get("max_val"))
    if high is None and "max_val" in form.names:
        high = 1
    if not _is_number(low) or not (high is None or _is_number(high)):
        return None
    return _BOUNDS.get((low, high))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _given(form: _Form, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    rest = args[1:] if args else ()
    return {**dict(zip(form.names, rest, strict=False)), **kwargs}


class Call(NamedTuple):
    """A call of an activation, read.

    Attributes:
        input: the value that the activation is applied to.
        activation: its kind, and whether it works in place.
        settings: its other arguments, as keyword arguments of the kind's function.
    """

    input: Any
    activation: Activation
    settings: dict[str, Any]


def read_call(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call | None:
    """Read a call of an activation; None for any other call.

    A maximum is read as a ReLU: whether its second argument is zero is not looked at.

    Args:
        function: the called function; for a method, that of ``torch.Tensor``.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    found = family_of(function, args, kwargs)
    if found is None:
        return None
    family, form = found
    given = _given(form, args, kwargs)
    start = args[0] if args else given.pop("input", given.pop("self", None))
    if family == MARK:
        name = str(given.pop("activation"))
        given.pop("slope", None)
        return Call(start, dropped_activation(name), given)
    if family == MAXIMUM:
        return Call(start, Activation("relu", False), {})
    inplace = form.inplace or given.pop("inplace", False) is True
    settings: dict[str, Any] = {}
    if form.family == family:  # else bounds, which the kind implies
        settings = {k: given[k] for k in form.names if k in given and k != "inplace"}
    return Call(start, Activation(family, inplace), settings)


def module_activation(module: nn.Module | None) -> Activation | None:
    """The activation that a module applies, or that it replaces; None for any other module."""
    name = getattr(module, "dropped_activation", None)
    if isinstance(name, str):
        return dropped_activation(name)
    inplace = getattr(module, "inplace", False) is True
    if isinstance(module, nn.Hardtanh):  # nn.ReLU6 is a subclass
        return Activation("relu6", inplace) if (module.min_val, module.max_val) == (0, 6) else None
    if isinstance(module, nn.Threshold):
        return Activation("relu", inplace) if (module.threshold, module.value) == (0, 0) else None
    kinds = (kind for own, kind in _MODULES.items() if isinstance(module, own))
    kind = next(kinds, None)
    return None if kind is None else Activation(kind, inplace)


def module_settings(module: nn.Module) -> dict[str, Any]:
    """The keyword arguments with which a module's function does the same as the module."""
    found = {name: getattr(module, name) for name in _SETTINGS if hasattr(module, name)}
    return {**found, "weight": module.weight} if isinstance(module, nn.PReLU) else found


def dropped_activation(name: str) -> Activation:
    """The activation that a mark replaces, from its name; in-place forms end with ``_``."""
    return Activation(name.rstrip("_"), name.endswith("_"), dropped=True)


def apply(activation: Activation, input: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Apply an activation by its kind and settings."""
    given = dict(settings) | ({"inplace": True} if activation.inplace else {})
    function: Callable[..., Tensor] = FUNCTIONS[activation.kind]
    return function(input, **given)
