"""The generated pages: tables in Markdown, and text of a fixed width."""

from __future__ import annotations

import os
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from works.recipe import Training

from harness.machine import processor


def table(header: str, rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown.

    Args:
        header: the names of the columns, with "|" between them; numbers end with ":".
    """
    names = [name.strip() for name in header.split("|")]
    rules = ("---:" if name.endswith(":") else "---" for name in names)
    cells = ([str(cell).replace("|", "&#124;") for cell in row] for row in rows)
    lines = [[name.rstrip(":") for name in names], list(rules), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def accuracies(trainings: Iterable[Training]) -> tuple[str, str, str]:
    """Mean, standard deviation and each of the accuracies after the last epoch, in percent."""
    finals = [100 * training["epochs"][-1]["top1"] for training in trainings]
    deviation = f"{statistics.stdev(finals):.2f}" if len(finals) > 1 else "-"
    return (
        f"{statistics.mean(finals):.2f}%",
        deviation,
        ", ".join(f"{value:.2f}" for value in finals),
    )


def fill(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def where(torch_version: str) -> str:
    """The machine of a measurement, in words."""
    return f"{os.cpu_count()} cores of an {processor()}, torch {torch_version}"


def write(
    path: Path, title: str, intro: str, table: str, how: str, caveat: str, command: str
) -> None:
    """Write a page: what was measured, the table, how, and the command that repeats it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"""# {title}

{fill(intro)}

{table}

{fill(how)}

{fill(caveat)}

To repeat it, with a result stored after each training:

```sh
python benches/{command}
```
""")
