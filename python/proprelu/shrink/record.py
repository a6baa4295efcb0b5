"""The plan of a run, which is continued after an interruption."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from proprelu.atomic import check_writable, read_bytes, write_text
from proprelu.convert import Plan

_FILE = "plan.json"


def fingerprint(model: nn.Module) -> str:
    """The class of a model, and a number that tells its weights from others."""
    hashed = hashlib.sha256()
    for name, value in model.state_dict().items():
        hashed.update(name.encode())
        if isinstance(value, Tensor):  # an extra state may be anything
            flat = value.detach().cpu().contiguous().flatten()
            hashed.update(flat.view(torch.uint8).numpy().data)
    return f"{type(model).__name__} with the weights {hashed.hexdigest()[:12]}"


def _plain(value: Any) -> Any:
    """A setting as it is in JSON."""
    return value if isinstance(value, (bool, int, float, str, type(None))) else repr(value)


class Record:
    """A folder with the plan of a run, so that a second call has the same one.

    Args:
        folder: the folder; None to keep nothing.
        asked: what was asked for, which must be the same when the run is continued.

    Raises:
        ValueError: the folder holds a run with other settings, or is damaged.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path | None, asked: dict[str, Any]) -> None:
        self._path = None if folder is None else folder / _FILE
        self._asked = {name: _plain(value) for name, value in asked.items()}
        self._plan: Plan | None = None
        if self._path is None:
            return
        check_writable(self._path)
        if not self._path.exists():
            return
        try:
            content = json.loads(read_bytes(self._path))
            kept = content["asked"]
            self._plan = Plan.from_dict(content["plan"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"folder must hold a run of shrink, got a damaged {self._path}; remove that file"
            ) from None
        for name, value in self._asked.items():
            if kept.get(name) != value:
                raise ValueError(
                    f"{name} must be {kept.get(name)} as in the run in {folder}, got {value}; "
                    "begin another run in another folder"
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
