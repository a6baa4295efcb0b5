"""A MkDocs hook that writes the reference of the command line from the commands themselves."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

_PLACE = "<!-- reference of the command line -->"
_COMMAND = [sys.executable, "-m", "typer", "proprelu.cli", "utils", "docs", "--name", "proprelu"]


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Replaces the marker in a page by the reference."""
    if _PLACE not in markdown:
        return markdown
    reference = subprocess.run(_COMMAND, check=True, capture_output=True, text=True).stdout
    _, _, commands = reference.partition("## ")  # the page has a title of its own
    return markdown.replace(_PLACE, f"## {commands}")
