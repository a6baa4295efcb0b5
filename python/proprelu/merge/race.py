"""Times a merged network beside one in which only the batch norms are folded."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from proprelu.graph.mode import kept_values, quiet, untouched_random

# Both run once in each of this many rounds, but no longer than some seconds in all.
_ROUNDS = (8, 40)
_SECONDS = 2.0
# The part of the rounds in which one has to be faster; a disturbance hits both of a round.
_WON = 0.75


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """The time that a call takes, with all that it has a GPU do."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if on_gpu:
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def why_only_folded(
    merged: nn.Module, folded: nn.Module, example_input: object, device: torch.device
) -> str:
    """Why the merged network should not be used; empty if it should.

    What single operations take does not add up exactly: others run between them, and find their
    inputs in the cache or not.

    Args:
        merged: the merged network.
        folded: the network whose batch norms are folded and nothing else.
        example_input: see ``merge``.
        device: of the networks.
    """
    rounds = _rounds(merged, folded, example_input, device)
    lost = sum(ours > theirs for ours, theirs in rounds)
    ours, theirs = (1e3 * min(times) for times in zip(*rounds, strict=True))
    if lost < _WON * len(rounds) or ours <= theirs:
        return ""
    return f"only norms are folded, since the whole took {ours:.2f} ms merged and {theirs:.2f} so"


def _rounds(
    merged: nn.Module, folded: nn.Module, example_input: object, device: torch.device
) -> list[tuple[float, float]]:
    """The seconds of both, round by round."""
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)

    def run(net: nn.Module) -> float:
        own = [_copied(value) for value in inputs]
        return seconds(lambda: net(*own), device)

    rounds: list[tuple[float, float]] = []
    with torch.no_grad(), quiet(), untouched_random(), kept_values(merged), kept_values(folded):
        run(merged), run(folded)  # the first runs prepare what the others use
        while len(rounds) < _ROUNDS[1]:
            if len(rounds) >= _ROUNDS[0] and sum(map(sum, rounds)) > _SECONDS:
                break
            if len(rounds) % 2:
                rounds.append((run(merged), run(folded)))
            else:
                theirs = run(folded)
                rounds.append((run(merged), theirs))
    return rounds


def _copied(value: Any) -> Any:
    """A value that a forward may overwrite."""
    return value.clone() if isinstance(value, Tensor) else value
