"""Captures a step again after a callback has changed what it was captured from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from torch import nn

from proprelu._core import EngineRunner
from proprelu.graph.surroundings import Surroundings
from proprelu.train.runner import Runner
from proprelu.train.state import named_buffers, named_parameters

__all__ = ["Renewal", "Renewed"]


class Renewed(Exception):
    """Ends the loop of the core after an epoch, so that it goes on with another runner."""


class Renewal:
    """Watches callbacks, and captures the step again where they have changed the model.

    A captured step holds modes, attributes, hooks, ``requires_grad`` and the globals that a forward
    reads as they were. After a change of any of them the steps of the epoch run in PyTorch, and
    from the next epoch on in a new capture.

    Args:
        model: the trained model.
        loss: its loss.
        runner: the runner that was captured.
        capture: captures the step again.
    """

    def __init__(
        self, model: nn.Module, loss: nn.Module, runner: Runner, capture: Callable[[], Runner]
    ) -> None:
        self.runner = runner
        self._held = (model, loss)
        self._surroundings = [Surroundings(model), Surroundings(loss)]
        self._capture = capture
        self._outdated = False
        self._trained = {name for name, p in named_parameters(model, loss) if p.requires_grad}
        self._tensors = self._present()

    @contextmanager
    def watching(self, moment: str) -> Iterator[None]:
        """Notice changes inside the context.

        Args:
            moment: ``"start"``, ``"step"``, ``"epoch"`` or, after the last one, ``"end"``.

        Raises:
            RuntimeError: a change that a running training cannot follow.
            Renewed: an epoch has ended, and the next one needs another runner.
        """
        before, memory = self._settings(), self._memory()
        yield
        for name, pointer in self._memory().items():
            if memory.get(name) != pointer:
                raise RuntimeError(_replaced(name))
        if before != self._settings():
            self._check()
            if isinstance(self.runner, EngineRunner):
                self.runner.outdate()
                self._outdated = True
        if moment == "epoch" and self._outdated:
            raise Renewed

    def renew(self) -> None:
        """Capture the step again, if it is outdated."""
        if self._outdated:
            self.runner = self._capture()
            self._outdated = False

    def _settings(self) -> list[dict[str, Hashable]]:
        return [surroundings.settings() for surroundings in self._surroundings]

    def _present(self) -> dict[str, int]:
        tensors = (*named_parameters(*self._held), *named_buffers(*self._held))
        return {name: id(tensor) for name, tensor in tensors}

    def _memory(self) -> dict[str, int]:
        """Where the values of each tensor are: an assignment to ``data`` moves them."""
        tensors = (*named_parameters(*self._held), *named_buffers(*self._held))
        return {name: tensor.data_ptr() for name, tensor in tensors}

    def _check(self) -> None:
        for name, number in self._present().items():
            if self._tensors.get(name) != number:
                raise RuntimeError(_replaced(name))
        for name, parameter in named_parameters(*self._held):
            if parameter.requires_grad and name not in self._trained:
                raise RuntimeError(
                    f"during fit only parameters that it began with can be trained, got "
                    f"requires_grad=True for {name}; freeze it after the start of fit, in "
                    "on_fit_start, or call fit again"
                )


def _replaced(name: str) -> str:
    return (
        f"during fit no parameter or buffer can be replaced, got another {name}; change its values "
        "in place, as with copy_"
    )
