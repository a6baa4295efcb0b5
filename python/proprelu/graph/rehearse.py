"""Rehearses a step before it is captured: whatever a capture would leave out is an error.

A captured step is a recording. What Python does anew in each step, such as drawing random numbers,
counting, or calling a hook, happens once when it is recorded. Here the step runs twice on tensors
without data; if Python's state differs after the second run, such things happen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Sequence
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from proprelu.graph.encode import CaptureError
from proprelu.graph.fake import fake_mode
from proprelu.graph.flat import Flat
from proprelu.graph.hooks import check_hooks
from proprelu.graph.mode import untouched
from proprelu.graph.outside import first_change, outside_seen
from proprelu.graph.prints import Is
from proprelu.graph.surroundings import Surroundings
from proprelu.graph.where import is_own, line_of, place_in

__all__ = ["rehearse"]


# Functions whose result depends on the order of a tensor's memory.
_LAYOUT = (Tensor.stride, Tensor.is_contiguous)


class Rehearsed(NamedTuple):
    """What a rehearsal has found.

    Attributes:
        unreached: the names of the parameters that the loss does not reach.
        put_plain_values: gives variables without tensors the values that the step notes in them.
        reads_layout: the line of the forward that reads the order of a tensor's memory, if any.
    """

    unreached: list[str]
    put_plain_values: Callable[[], None]
    reads_layout: str | None


def rehearse(step: nn.Module, batch: tuple[Tensor, ...], *, training: bool) -> Rehearsed:
    """Run a step twice on fake tensors, and check that a capture would do the same as it does.

    Args:
        step: called with the batch; in training it returns the loss first.
        batch: an example of a batch.
        training: whether to run the backward as well.

    Returns:
        What the capture needs. Everything is as it was before.

    Raises:
        CaptureError: the step does something that a capture would leave out.
    """
    check_hooks(step, training)
    surroundings = Surroundings(step)
    with (
        fake_mode() as mode,
        surroundings.restored(),
        untouched(step),
    ):
        start = surroundings.settings()
        rehearsal = _Rehearsal(step, batch, training, mode)
        with outside_seen() as seen:
            first = _Flow(rehearsal.batch)
            unreached = rehearsal(first)
        if seen:
            raise CaptureError(f"its forward {seen[0]}")
        before = surroundings.now()
        flow = _Flow(rehearsal.batch, _tensors(before))
        rehearsal(flow)
        after = surroundings.now()
        changed = [what for what in after if after[what] != before.get(what)]
        changed = [what for what in changed if not flow.only_derived(before.get(what), after[what])]
        if changed:
            where = first_change(
                lambda: rehearsal(_Flow(rehearsal.batch)),
                lambda: surroundings.now().get(changed[0]),
            )
            raise CaptureError(f"its forward {changed[0]}" + (f", at {where}" if where else ""))
        put_plain_values = surroundings.plain_values(start)
    return Rehearsed(unreached, put_plain_values, first.reads_layout)


class _Rehearsal:
    """A step on fake tensors of the shapes of the real ones."""

    def __init__(
        self, step: nn.Module, batch: tuple[Tensor, ...], training: bool, mode: FakeTensorMode
    ) -> None:
        self._flat = Flat(step)
        self._training = training
        trained = {key for key, p in self._flat.named_parameters() if p.requires_grad}
        self._tensors = {
            key: mode.from_tensor(tensor).detach().requires_grad_(key in trained)
            for key, tensor in (*self._flat.named_parameters(), *self._flat.named_buffers())
        }
        self._trained = [key for key in self._tensors if key in trained]
        self.batch = tuple(mode.from_tensor(tensor) for tensor in batch)

    def __call__(self, flow: _Flow) -> list[str]:
        """Run it once; returns the names of the parameters without a gradient."""
        tensors = dict(self._tensors)
        if not self._training:
            with torch.no_grad(), flow:
                functional_call(self._flat, tensors, self.batch)
            return []
        with torch.enable_grad(), flow:
            loss = functional_call(self._flat, tensors, self.batch)[0]
        if flow.hooks is not None:
            # Not in the forward, because an interrupted checkpoint leaves its hooks in place, and
            # not after the backward, where they would run the forward with the real tensors.
            raise CaptureError(f"its forward {flow.hooks}")
        if not loss.requires_grad:
            raise CaptureError("the loss depends on no parameter that requires a gradient")
        wanted = [self._tensors[key] for key in self._trained]
        with flow:
            gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
        found = zip(self._trained, gradients, strict=True)
        return [self._flat.names[key] for key, gradient in found if gradient is None]


class _Flow(TorchFunctionMode):
    """Follows the tensors of one run.

    Args:
        batch: the tensors whose influence is followed.
        stored: tensors that the run before has left in Python's state.
    """

    def __init__(self, batch: tuple[Tensor, ...], stored: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self._from_batch = {id(tensor): tensor for tensor in batch}
        self._stored = {id(tensor) for tensor in stored}
        self._read: set[int] = set()
        self.hooks: str | None = None
        self.reads_layout: str | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self._read |= {id(tensor) for tensor in given} & self._stored
        if self.hooks is None and torch._C._autograd._top_saved_tensors_default_hooks(True):
            self.hooks = _placed("uses hooks for saved tensors, as checkpoint does")
        if func in _LAYOUT and self.reads_layout is None:
            self.reads_layout = _line_of_model(sys._getframe(1))
        _check_call(func, given)
        result = func(*args, **kwargs)
        if any(id(tensor) in self._from_batch for tensor in given):
            made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            self._from_batch |= {id(tensor): tensor for tensor in made}
        return result

    def only_derived(self, before: Hashable, after: Hashable) -> bool:
        """Whether a changed value is a tensor that each step makes anew from weights alone.

        Such is the weight of ``weight_norm``: nothing reads what the step before has left.
        """
        old, new = _tensor(before), _tensor(after)
        if old is None or new is None:
            return False
        return id(old) not in self._read and id(new) not in self._from_batch


def _tensor(taken: Hashable) -> Tensor | None:
    first = taken[0] if isinstance(taken, tuple) and taken else None
    held = first.held if isinstance(first, Is) else None
    return held if isinstance(held, Tensor) else None


def _tensors(state: dict[str, Hashable]) -> list[Tensor]:
    leaves = tree_leaves(list(state.values()))
    held = (leaf.held for leaf in leaves if isinstance(leaf, Is))
    return [tensor for tensor in held if isinstance(tensor, Tensor)]


def _check_call(func: Callable[..., Any], given: list[Tensor]) -> None:
    """Raise ``CaptureError`` for a call that writes into a tensor of which there is no record."""
    name = getattr(func, "__name__", "")
    if name == "__set__" and getattr(func, "__self__", None) is vars(torch._C.TensorBase)["data"]:
        raise CaptureError(f"its forward {_placed('assigns to the data of a tensor')}")
    writes = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
    # Parameters and buffers are fake here, and a real tensor would be changed for good.
    if writes and given and type(given[0]) is Tensor:
        what = "changes a tensor that is not a buffer; register it with register_buffer"
        raise CaptureError(f"its forward {_placed(what)}")


def _line_of_model(frame: FrameType) -> str | None:
    """The line that has called a function, if it is neither torch's nor an installed library's."""
    while frame.f_code.co_name == "__torch_function__" and frame.f_back is not None:
        frame = frame.f_back  # of another mode
    file = frame.f_code.co_filename
    return line_of(file, frame.f_lineno) if is_own(file) and "site-packages" not in file else None


def _placed(what: str) -> str:
    where = place_in(sys._getframe(1))
    return f"{what}, at {where}" if where else what
