"""Finished trainings, kept in a file one by one, so that an interrupted benchmark goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from side_by_side.systems import BENCHES, System

from fashion.recipe import Recipe

Training = dict[str, Any]


class Named(Protocol):
    """What a store needs to know of a system."""

    @property
    def name(self) -> str: ...


_System = TypeVar("_System", bound=Named)


class Store:
    """The trainings of one recipe in a JSON file, which is not mixed with those of another.

    Attributes:
        about: what the file says besides.
    """

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path = path
        self.recipe = recipe
        self.about: dict[str, Any] = {}
        kept = json.loads(path.read_text()) if path.exists() else {}
        if kept and kept["recipe"] != recipe.to_dict():
            raise SystemExit(
                f"{path} has trainings of another recipe ({kept['recipe']}); remove it or name "
                "another file with --json"
            )
        self.trainings: dict[str, dict[str, Training]] = kept.get("trainings", {})

    def of(self, system: Named) -> dict[int, Training]:
        """The finished ones of a system, by seed."""
        trainings = self.trainings.get(system.name, {})
        return {int(seed): training for seed, training in sorted(trainings.items())}

    def add(self, system: Named, seed: int, training: Training) -> None:
        """Keep one, at once."""
        self.trainings.setdefault(system.name, {})[str(seed)] = training
        self.save()

    def save(self) -> None:
        """Write all of it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        content = {"recipe": self.recipe.to_dict(), **self.about, "trainings": self.trainings}
        part.write_text(json.dumps(content, indent=2) + "\n")
        part.replace(self.path)

    def torch_version(self) -> str:
        """What the trainings ran with."""
        of_each = (t for trainings in self.trainings.values() for t in trainings.values())
        return ", ".join(sorted({training["torch"] for training in of_each}))

    def complete(
        self,
        systems: Sequence[_System],
        seeds: Sequence[int],
        train: Callable[[_System, int, Recipe], Training],
    ) -> list[str]:
        """Run what is not there yet, seed by seed and system by system; gives what was skipped."""
        skipped: dict[str, str] = {}
        for seed in seeds:
            for system in systems:
                if seed in self.of(system) or system.name in skipped:
                    continue
                training = train(system, seed, self.recipe)
                if "skip" in training:
                    skipped[system.name] = training["skip"]
                    continue
                self.add(system, seed, training)
                last, seconds = training["epochs"][-1], training["total_seconds"]
                print(f"{system.name}, seed {seed}: {100 * last['top1']:.2f}% in {seconds:.0f} s")
        return [f"without {name}: {reason}" for name, reason in skipped.items()]


def run(system: System, seed: int, recipe: Recipe) -> Training:
    """One training, in a process with the environment of its system."""
    reason = system.missing()
    if reason is not None:
        return {"skip": reason}
    script = str(BENCHES / "fashion" / "child.py")
    command = [sys.executable, script, system.name, str(seed), json.dumps(recipe.to_dict())]
    result = subprocess.run(
        command, env=system.full_environment(), stdout=subprocess.PIPE, text=True, check=False
    )
    if result.returncode:
        raise SystemExit(f"{system.name}, seed {seed}: it ended with {result.returncode}")
    training: Training = json.loads(result.stdout)
    return training
