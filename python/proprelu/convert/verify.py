"""Compares a converted model with the original, before the conversion is final.

The conversion is installed with every activation still applied. Then outputs and gradients have to
be those of the original, and each activation that is to be dropped must be met as planned.
"""

from __future__ import annotations

import contextlib
import functools
import random
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from proprelu.convert.differences import first_difference
from proprelu.convert.inputs import as_arguments, made_up
from proprelu.graph import Traced, Watch, install, places, plain, plain_class, replace_decisions
from proprelu.graph.activations import Activation
from proprelu.graph.events import Event
from proprelu.graph.mode import (
    kept_modes,
    kept_values,
    quiet,
    set_mode,
    untouched,
    untouched_random,
)
from proprelu.graph.places import Place
from proprelu.graph.torch_globals import TORCH_GLOBALS

_SEEDS = (0, 1)
# By default nothing is compared if it would take longer: seconds, and parameters of a model that is
# not even run once to find out.
_SECONDS = 1.0
_PARAMETERS = 60_000_000
# Forward and backward of two models, in two modes with two seeds, in units of one forward.
_FORWARDS = 40
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def verify_conversion(
    model: nn.Module, traced: Traced, example_input: object = None, verify: bool | None = None
) -> None:
    """Compare a conversion that was decided with the model as it is without any.

    Everything is left as it was: modules, values, modes, random states. Hooks do not run.

    Args:
        model: the traced model.
        traced: the trace, with a decision at each node.
        example_input: a tensor, or a tuple of the forward's arguments; without it one is made up.
        verify: True to compare in any case, False not to; None to compare where it costs little.

    Raises:
        ValueError: no input is known, but ``verify``.
        RuntimeError: the conversion does not do what was planned; the message names where.
    """
    if verify is False or (verify is None and not _is_cheap(model)) or _is_empty(model):
        return
    with TORCH_GLOBALS, plain(model), _unchanged(model), quiet():
        set_mode(model, False)
        inputs = as_arguments(example_input) if example_input is not None else None
        if inputs is None:
            inputs = made_up(model, traced)
        if inputs is None:
            if verify:
                raise ValueError(
                    f"example_input must be given to verify {plain_class(model).__name__}, got "
                    "none, and no input that it accepts could be made up; give a small batch"
                )
            return
        if verify is None and _FORWARDS * _seconds(model, inputs) > _SECONDS:
            return
        _compare(model, traced, inputs, bool(verify))


def _is_empty(model: nn.Module) -> bool:
    """Whether the model has no values to compute with."""
    return any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def _is_cheap(model: nn.Module) -> bool:
    if torch.is_inference_mode_enabled():
        return False
    return sum(p.numel() for p in model.parameters()) <= _PARAMETERS


def _seconds(model: nn.Module, inputs: tuple[Any, ...]) -> float:
    start = time.perf_counter()
    with torch.no_grad():
        model(*_copies(inputs))
    return time.perf_counter() - start


def _compare(model: nn.Module, traced: Traced, inputs: tuple[Any, ...], strict: bool) -> None:
    modes = (False, True) if _can_train(model, inputs) else (False,)
    cases = [(training, seed) for training in modes for seed in _SEEDS]
    expected = [_outcome(model, inputs, *case) for case in cases]
    seen: list[tuple[Place, Activation]] = []
    install(model, traced)
    planned = [
        (place, event)
        for event, _, place in places(model, traced.events, training=False)
        if place is not None
    ]
    replace_decisions(model, lambda _, place: Watch(place, seen))
    for case, wanted in zip(cases, expected, strict=True):
        seen.clear()
        try:
            found = _outcome(model, inputs, *case, seen)
        except RuntimeError as error:
            raise RuntimeError(_refusal(model, str(error))) from error
        training, _ = case
        if not training:
            _check_met(model, planned, found.seen)
        if _same(wanted, found):
            continue
        with plain(model):
            again = _outcome(model, inputs, *case)
        if _same(wanted, again):
            where = first_difference(model, functools.partial(_outcome, model, inputs, *case))
            raise RuntimeError(_refusal(model, f"{where} gives something else than before"))
        if strict:
            raise RuntimeError(
                f"{plain_class(model).__name__} cannot be verified: run twice with the same seeds "
                "it gives different results; make it repeatable, or convert with verify=False"
            )
        return


def _refusal(model: nn.Module, why: str) -> str:
    return (
        f"cannot convert {plain_class(model).__name__}, as its activations cannot be intercepted "
        f"without changing more: {why}"
    )


def _check_met(
    model: nn.Module,
    planned: Sequence[tuple[Place, Event]],
    seen: Sequence[tuple[Place, Activation]],
) -> None:
    """Check that the activations were called as planned: as often, and in this order."""
    for number, (place, event) in enumerate(planned):
        if number >= len(seen):
            raise RuntimeError(_refusal(model, f"{_name(event)} is traced but never called"))
        if seen[number][0] != place:
            why = f"{_name(event)} is called at another time than traced"
            raise RuntimeError(_refusal(model, why))
    if len(seen) > len(planned):
        module = seen[len(planned)][0].module or "the forward"
        why = f"an activation of {module} is called more often than traced"
        raise RuntimeError(_refusal(model, why))


def _name(event: Event) -> str:
    return event.leaf or f"{event.family} in {event.run.path or 'the forward'}"


class _Outcome(NamedTuple):
    """What a model computes.

    Attributes:
        outputs: all tensors that it returns.
        gradients: of a random direction, with respect to inputs and parameters.
        seen: the activations that were met in the forward.
    """

    outputs: list[Tensor]
    gradients: list[Tensor | None]
    seen: list[Any]


def _can_train(model: nn.Module, inputs: tuple[Any, ...]) -> bool:
    """Whether the model runs in training mode: a batch norm may need more images than one."""
    try:
        _outcome(model, inputs, True, _SEEDS[0])
    except (ValueError, RuntimeError):
        return False
    return True


def _outcome(
    model: nn.Module,
    inputs: tuple[Any, ...],
    training: bool,
    seed: int,
    seen: Sequence[Any] = (),
) -> _Outcome:
    """Run forward and backward; ``seen`` gets the activations that are met."""
    with _unchanged(model):
        set_mode(model, training)
        _seed(seed)
        given = _copies(inputs)
        wanted = [v for v in given if isinstance(v, Tensor) and v.is_floating_point()]
        for value in wanted:
            value.requires_grad_()
        wanted += [p for p in model.parameters() if p.requires_grad]
        # The forward may write into its input, which must not be a leaf of autograd then.
        passed = [v.clone() if isinstance(v, Tensor) and v.requires_grad else v for v in given]
        outputs = [v for v in tree_leaves(model(*passed)) if isinstance(v, Tensor)]
        met = list(seen)  # the backward may compute activations again
        roots = [v for v in outputs if v.requires_grad and v.is_floating_point()]
        directions = [torch.randn_like(v) for v in roots]
        gradients: list[Tensor | None] = []
        if roots and wanted:
            with contextlib.suppress(RuntimeError):  # of a model that cannot be trained
                gradients += torch.autograd.grad(roots, wanted, directions, allow_unused=True)
        return _Outcome([v.detach() for v in outputs], gradients, met)


def _copies(inputs: tuple[Any, ...]) -> list[Any]:
    return [v.detach().clone() if isinstance(v, Tensor) else v for v in inputs]


def _seed(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)


def _same(a: _Outcome, b: _Outcome) -> bool:
    mine, theirs = [*a.outputs, *a.gradients], [*b.outputs, *b.gradients]
    return len(mine) == len(theirs) and all(map(_close, mine, theirs))


def _close(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if torch.equal(a, b) or not a.is_floating_point():
        return torch.equal(a, b)
    error, size = (a - b).float().norm(), b.float().norm()
    both = torch.equal(a.isfinite(), b.isfinite()) and not bool(a.isfinite().all())
    return both or bool(error <= 100 * torch.finfo(a.dtype).eps * size)


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Put back values, attributes, modes and random states afterwards; hooks do not run inside."""
    with (
        kept_values(model),
        kept_modes(model),
        untouched_random(),
        untouched(model),
        torch.enable_grad(),
    ):
        for module in model.modules():
            _suspend_hooks(module)
        yield


def _suspend_hooks(module: nn.Module) -> None:
    """Take away a module's hooks, except torch's own, which compute weights."""
    for name in _HOOKS:
        hooks = module.__dict__.get(name)
        if hooks:
            own = [(k, v) for k, v in hooks.items() if type(v).__module__.startswith("torch.")]
            module.__dict__[name] = OrderedDict(own)
