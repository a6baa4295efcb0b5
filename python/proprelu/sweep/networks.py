"""The networks that the runs of a seed start from."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import nn

from proprelu.graph import copied
from proprelu.sweep.seeded import seeded

__all__ = ["Build", "Networks"]

# Makes a network, with random weights.
Build: TypeAlias = Callable[[], nn.Module]


class Networks:
    """Makes the network of each seed, always with the same weights.

    Args:
        build: a function that makes the network, called with the seeded generators of torch, NumPy
            and Python; or a network, whose weights are those of every seed.

    Raises:
        TypeError: neither of these.
    """

    def __init__(self, build: Build | nn.Module) -> None:
        if not isinstance(build, nn.Module) and not callable(build):
            raise TypeError(
                "model must be a module, or a function without arguments that makes one, got "
                f"{type(build).__name__}"
            )
        if not isinstance(build, nn.Module):
            _check_without_arguments(build)
        self._build = build

    def of(self, seed: int) -> nn.Module:
        """A new network with the weights of a seed.

        Raises:
            TypeError: the function makes something else.
        """
        if isinstance(self._build, nn.Module):
            return copied(self._build)
        with seeded(seed):
            network = self._build()
        if not isinstance(network, nn.Module):
            raise TypeError(f"model must make a module, got {type(network).__name__}")
        return network

    def check(self, seed: int) -> str:
        """The digest of a seed's weights.

        Raises:
            ValueError: a second call makes another network, or the same objects again.
        """
        first, second = self.of(seed), self.of(seed)
        if _shared(first, second):
            raise ValueError(
                "model must make a new network each time, got the parameters of the one before; "
                "make them inside the function, or pass the network itself"
            )
        difference = _difference(first, second)
        if difference:
            raise ValueError(
                "model must make the same network each time for a seed, got "
                f"{difference}; draw what is random from torch, numpy.random or random, which "
                "are seeded"
            )
        return digest(first)


def _check_without_arguments(build: Build) -> None:
    try:
        inspect.signature(build).bind()
    except TypeError as error:
        name = getattr(build, "__name__", type(build).__name__)
        raise TypeError(
            f"model must be called without arguments, got {name}: {error}; bind them, for example "
            "with functools.partial"
        ) from None
    except ValueError:
        pass  # a function in C may not say what it takes


def _shared(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have a parameter or a buffer in common."""
    own = {id(tensor) for tensor in (*one.parameters(), *one.buffers())}
    return any(id(tensor) in own for tensor in (*other.parameters(), *other.buffers()))


def digest(model: nn.Module) -> str:
    """What identifies the structure of a network and the values of its weights."""
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            found.update(
                tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            )
    return found.hexdigest()[:16]


def _difference(one: nn.Module, other: nn.Module) -> str:
    """In words, where two networks differ; empty if they do not."""
    first, second = one.state_dict(), other.state_dict()
    for name in (*first, *(name for name in second if name not in first)):
        a, b = first.get(name), second.get(name)
        if a is None or b is None:
            return f"one with and one without {name}"
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            if a.shape != b.shape:
                return f"{name} of shape {tuple(a.shape)} and {tuple(b.shape)}"
            if not torch.equal(a, b):
                return f"other values in {name}"
    return "another structure" if str(one) != str(other) else ""
