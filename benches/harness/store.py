"""Finished trainings, stored in a file one by one, so that an interrupted benchmark continues."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from works.recipe import Recipe, Training

from harness.arguments import Named

_System = TypeVar("_System", bound=Named)
_Recipe = TypeVar("_Recipe", bound=Recipe)


class Store(Generic[_Recipe]):
    """The trainings of one recipe in a JSON file, which holds those of no other.

    Attributes:
        about: other content of the file.
    """

    def __init__(self, path: Path, recipe: _Recipe) -> None:
        self.path = path
        self.recipe = recipe
        self.about: dict[str, Any] = {}
        kept = json.loads(path.read_text()) if path.exists() else {}
        if kept and type(recipe)(**kept["recipe"]) != recipe:
            raise SystemExit(
                f"{path} has trainings of another recipe ({kept['recipe']}); remove it or name "
                "another file with --json"
            )
        self.trainings: dict[str, dict[str, Training]] = kept.get("trainings", {})

    def of(self, system: Named) -> dict[int, Training]:
        """The finished trainings of a system, by seed."""
        trainings = self.trainings.get(system.name, {})
        return {int(seed): training for seed, training in sorted(trainings.items())}

    def seeds(self, systems: Iterable[Named]) -> int:
        """The largest number of seeds of a system."""
        return max((len(self.of(system)) for system in systems), default=0)

    def torch_version(self) -> str:
        """The versions of torch that the trainings ran with."""
        every = (t for trainings in self.trainings.values() for t in trainings.values())
        return ", ".join(sorted({training["torch"] for training in every}))

    def save(self) -> None:
        """Write the file."""
        content = {"recipe": self.recipe.to_dict(), **self.about, "trainings": self.trainings}
        write_json(self.path, content)

    def complete(
        self,
        systems: Sequence[_System],
        seeds: int,
        train: Callable[[_System, int, _Recipe], Training],
    ) -> list[str]:
        """Run the trainings that are missing, seed by seed; returns which systems were skipped."""
        skipped: dict[str, str] = {}
        for seed in range(seeds):
            for system in systems:
                if seed in self.of(system) or system.name in skipped:
                    continue
                training = train(system, seed, self.recipe)
                if "skip" in training:
                    skipped[system.name] = training["skip"]
                    continue
                self.trainings.setdefault(system.name, {})[str(seed)] = training
                self.save()
                last, seconds = training["epochs"][-1], training["total_seconds"]
                top1 = 100 * last["top1"]
                print(f"{system.name}, seed {seed}: {top1:.2f}% in {seconds:.0f} s", flush=True)
        return [f"without {name}: {reason}" for name, reason in skipped.items()]


def write_json(path: Path, content: object) -> None:
    """Replace a file at once, so that it is never half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=2) + "\n")
    part.replace(path)
