"""``proprelu doctor --tune``: the stored choices of kernels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from proprelu.tables import Table
from proprelu.train.recipe.kernels import clear_choices, stored_choices, tune_file

__all__ = ["clear", "show"]

_COLUMNS = ("product", "convolution", "dtype", "algorithm", "time", "spread", "note")
_FUSIBLE = {
    "load": "with the norm before",
    "moments": "with moments",
    "add": "with a sum",
    "activation": "with activation",
}


def show(as_json: bool) -> None:
    """Print the stored choices."""
    choices = stored_choices()
    if as_json:
        print(json.dumps(choices, indent=2))
        return
    title = f"{len(choices)} choices of kernels in {tune_file()}"
    faint = [index for index, choice in enumerate(choices) if not choice["valid_here"]]
    Console().print(Table(_COLUMNS, [_row(choice) for choice in choices], title, 4, faint))


def clear(as_json: bool) -> None:
    """Remove the stored choices."""
    count = clear_choices()
    print(json.dumps({"cleared": count}) if as_json else f"cleared {count} choices of kernels")


def _row(choice: dict[str, Any]) -> tuple[str, ...]:
    seconds = choice["seconds"][choice["candidates"].index(choice["algorithm"])]
    return (
        choice["product"].replace("_", " "),
        ", ".join([_convolution(choice["geometry"]), *_passes(choice["fusible"])]),
        choice["dtype"],
        choice["algorithm"],
        f"{seconds * 1e3:.3f} ms",
        f"{choice['spread']:.0%}",
        _note(choice),
    )


def _convolution(geometry: dict[str, Any]) -> str:
    """The shape, and the settings that are not the default of ``nn.Conv2d``."""
    height, width = geometry["in_size"]
    text = f"{geometry['batch']}x{geometry['in_channels']}x{height}x{width}"
    text += f" -> {geometry['out_channels']}, {_pair(geometry['kernel_size'])}"
    for name, default in (("stride", 1), ("padding", 0), ("dilation", 1)):
        if tuple(geometry[name]) != (default, default):
            text += f", {name} {_pair(geometry[name])}"
    if geometry["groups"] != 1:
        text += f", groups {geometry['groups']}"
    if geometry["num_blocks"] != 1:
        text += f", {geometry['num_blocks']} blocks share the weight"
    return text


def _passes(fusible: dict[str, bool]) -> list[str]:
    """What the time includes beside the convolution."""
    return [text for name, text in _FUSIBLE.items() if fusible[name]]


def _pair(pair: Sequence[int]) -> str:
    return f"{pair[0]}x{pair[1]}"


def _note(choice: dict[str, Any]) -> str:
    if not choice["valid_here"]:
        return "another machine or version"
    return "provisional" if choice["provisional"] else ""
