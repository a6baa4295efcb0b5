"""Whole trainings, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from works.recipe import Recipe, Training

from harness.child import CannotRun
from harness.rounds import Limit
from harness.system import System


def in_child(
    device: str, limit: Limit | None = None, data: str | None = None, small: bool = False
) -> Callable[[System, int, Recipe], Training]:
    """A function that runs one training by system, seed and recipe, or returns why it is skipped.

    A training that fails ends the benchmark; under a limit it is skipped, so that the time is used.

    Args:
        device: "cpu" or "cuda".
        limit: a training that is not finished by then is ended.
        data: the folder to search for the data set first.
        small: use the part of the data set that comes with the package.
    """

    def train(system: System, seed: int, recipe: Recipe) -> Training:
        settings = {"recipe": recipe.to_dict(), "seed": seed, "data": data, "small": small}
        missing = system.missing()
        if missing is not None:
            return {"skip": missing}
        try:
            fit = replace(system, module="systems.fit")
            seconds = 0 if limit is None else limit.for_child()
            with fit.start(device, seconds, **settings) as child:
                return child.ready
        except CannotRun as reason:
            if limit is None:
                raise SystemExit(f"{system.name}, seed {seed}: {reason}") from None
            return {"skip": str(reason)}

    return train
