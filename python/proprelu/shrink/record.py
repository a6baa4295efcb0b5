"""The plan of a run, which is continued after an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from proprelu.atomic import read_bytes, write_text
from proprelu.convert import Plan

_FILE = "plan.json"


class Record:
    """A folder with the plan of a run, so that a second call has the same one.

    Args:
        folder: the folder; None to keep nothing.
        asked: what was asked for, which must be the same when the run is continued.

    Raises:
        ValueError: the folder holds a run with other settings, or is damaged.
    """

    def __init__(self, folder: Path | None, asked: dict[str, Any]) -> None:
        self._path = None if folder is None else folder / _FILE
        self._asked = asked
        self._plan: Plan | None = None
        if self._path is None or not self._path.exists():
            return
        try:
            content = json.loads(read_bytes(self._path))
            kept = content["asked"]
            self._plan = Plan.from_dict(content["plan"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"folder must hold a run of shrink, got a damaged {self._path}; remove that file"
            ) from None
        for name in asked.keys() | kept.keys():
            if asked.get(name) != kept.get(name):
                raise ValueError(
                    f"{name} must be {kept.get(name)!r} as in the run in {folder}, got "
                    f"{asked.get(name)!r}; begin another run in another folder"
                )

    @property
    def plan(self) -> Plan | None:
        """The plan of an earlier call."""
        return self._plan

    def note(self, plan: Plan) -> None:
        """Write a decision."""
        self._plan = plan
        if self._path is not None:
            content = {"asked": self._asked, "plan": plan.to_dict()}
            write_text(self._path, json.dumps(content, indent=1))
