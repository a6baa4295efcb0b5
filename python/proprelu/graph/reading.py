"""Where a model's output has its predictions, and what of it and of the labels a loss gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import (
    TreeSpec,
    key_get,
    tree_flatten,
    tree_flatten_with_path,
    tree_unflatten,
)

__all__ = ["Choice", "OutputStructure", "Reading"]

Choice = str | int | Callable[[Any], Tensor] | None


@dataclass(frozen=True)
class Reading:
    """How the predictions and the loss are read from the output of a model and the labels.

    Attributes:
        choice: the key, the index or a function that picks the predictions out of a tuple or dict;
            ``None`` for those that the loss reads, or else the first tensor.
        whole: whether the loss gets the whole output; otherwise it gets the predictions.
        path: the place of the tensor that the loss reads, where ``chosen_by`` has found one.
        labels: the structure of the labels; ``None`` for one tensor.
    """

    choice: Choice = None
    whole: bool = True
    path: tuple[Any, ...] | None = None
    labels: TreeSpec | None = None

    def predictions(self, output: Any) -> Tensor:
        """The predictions in a model's output.

        Raises:
            TypeError: there is no tensor at the place, or in the output.
        """
        if callable(self.choice):
            found = self.choice(output)
        elif isinstance(output, Tensor):
            return output
        elif self.choice is not None:
            found = _at(output, self.choice)
        else:
            found = self._found(output)
        if isinstance(found, Tensor):
            return found
        raise TypeError(
            "the model must return a tensor, or a tuple or dict that starts with one, got "
            f"{_describe(output)}; or say where it is with Trainer(output=...), by a key, an index "
            "or a function"
        )

    def check(self, output: Any) -> None:
        """Raise ``TypeError`` for a choice among the parts of an output that has none."""
        if isinstance(output, Tensor) and isinstance(self.choice, (str, int)):
            raise TypeError(
                f"output={self.choice!r} chooses from a tuple or dict, got a model that returns "
                "one tensor; leave output out"
            )

    def loss(self, loss: nn.Module, output: Any, labels: Sequence[Tensor]) -> Tensor:
        """The loss of an output."""
        whole = self.whole and not isinstance(output, Tensor)
        value: Tensor = loss(
            output if whole else self.predictions(output).float(), self.target(labels)
        )
        return value

    def target(self, labels: Sequence[Tensor]) -> Any:
        """The labels in the structure that the data gave them."""
        return labels[0] if self.labels is None else tree_unflatten(list(labels), self.labels)

    def chosen_by(self, loss: nn.Module, output: Any, labels: Sequence[Tensor]) -> Reading:
        """The same, with the place of the first tensor of ``output`` that the loss depends on."""
        if isinstance(output, Tensor) or self.choice is not None or not self.whole:
            return self
        pairs, spec = tree_flatten_with_path(output)
        leaves = [_tracked(leaf) for _, leaf in pairs]
        with torch.enable_grad():
            value = loss(tree_unflatten(leaves, spec), self.target(labels))
        tracked = [
            (path, leaf)
            for (path, _), leaf in zip(pairs, leaves, strict=True)
            if isinstance(leaf, Tensor) and leaf.requires_grad
        ]
        if not tracked or not isinstance(value, Tensor) or value.numel() != 1:
            return self
        if not value.requires_grad:
            return self
        gradients = torch.autograd.grad(value, [leaf for _, leaf in tracked], allow_unused=True)
        for (path, _), gradient in zip(tracked, gradients, strict=True):
            if gradient is not None:
                return replace(self, path=path)
        return self

    def _found(self, output: Any) -> Any:
        if self.path is not None:
            try:
                return key_get(output, self.path)
            except (KeyError, IndexError, TypeError, AttributeError):
                pass  # The output has another form in evaluation mode.
        items = list(output.values()) if isinstance(output, dict) else output
        return items[0] if isinstance(items, (tuple, list)) and items else None


class OutputStructure:
    """The structure of a model's output, which a graph returns as single tensors."""

    def __init__(self) -> None:
        self._spec: TreeSpec | None = None
        self._plain: list[Any] = []

    def taken_apart(self, output: Any) -> list[Tensor]:
        """The tensors of an output.

        Raises:
            TypeError: it holds objects that cannot be put together again.
        """
        leaves, self._spec = tree_flatten(output)
        self._plain = [None if isinstance(leaf, Tensor) else (leaf,) for leaf in leaves]
        for leaf in leaves:
            if not isinstance(leaf, (Tensor, bool, int, float, str, type(None))):
                raise TypeError(f"a model's output has a {type(leaf).__name__} in it")
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def together(self, tensors: Sequence[Tensor]) -> Any:
        """The output with these tensors."""
        assert self._spec is not None
        rest = iter(tensors)
        leaves = [next(rest) if plain is None else plain[0] for plain in self._plain]
        return tree_unflatten(leaves, self._spec)


def _at(output: Any, choice: Any) -> Any:
    try:
        if isinstance(choice, str) and not isinstance(output, dict):
            return getattr(output, choice)
        return output[choice]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise TypeError(
            f"output={choice!r} is not in the model's output, {_describe(output)}"
        ) from error


def _tracked(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    return leaf.detach().requires_grad_(leaf.is_floating_point())


def _describe(output: Any) -> str:
    if isinstance(output, dict):
        return f"a dict with the keys {', '.join(map(repr, output))}"
    if isinstance(output, (tuple, list)):
        return f"a {type(output).__name__} of {len(output)}"
    return type(output).__name__
