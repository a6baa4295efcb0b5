"""Whole trainings, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from works.recipe import Recipe, Training

from harness.child import CannotRun
from harness.rounds import Limit
from harness.system import System


def in_child(
    place: str, limit: Limit | None = None, data: str | None = None, small: bool = False
) -> Callable[[System, int, Recipe], Training]:
    """A function that runs one training by system, seed and recipe, or returns why it cannot.

    Args:
        place: "cpu" or "cuda".
        limit: a training that is not finished by then is ended.
        data: the folder to search for the data set first.
        small: use the part of the data set that comes with the package.
    """
    limit = limit or Limit()

    def train(system: System, seed: int, recipe: Recipe) -> Training:
        settings = {"recipe": recipe.to_dict(), "seed": seed, "data": data, "small": small}
        try:
            fit = replace(system, module="systems.fit")
            with fit.start(place, limit.for_child(), **settings) as child:
                return child.ready
        except CannotRun as reason:
            return {"skip": str(reason)}

    return train
