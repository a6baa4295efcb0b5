"""The lines of ``proprelu doctor``. Imports nothing, so that it can report what is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["Finding", "report"]


class Finding(NamedTuple):
    """One line of the report, with advice if it is not ok."""

    name: str
    value: Any
    ok: bool = True
    advice: str = ""


def report(findings: Sequence[Finding], as_json: bool) -> int:
    """Print the findings on standard output.

    Returns:
        The exit code: 1 if there is a problem, else 0.
    """
    if as_json:
        values = {finding.name.replace(" ", "_"): finding.value for finding in findings}
        problems = [f"{finding.name}: {finding.advice}" for finding in findings if not finding.ok]
        print(json.dumps({**values, "problems": problems}, indent=2))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            mark = " " if finding.ok else "!"
            advice = f"  <- {finding.advice}" if finding.advice else ""
            print(f"{mark} {finding.name:<{width}}  {finding.value}{advice}")
    return int(not all(finding.ok for finding in findings))
