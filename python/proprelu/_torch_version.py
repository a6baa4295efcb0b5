"""The version of torch that this package is built for."""

from __future__ import annotations

BUILT_FOR = "2.11"
"""The minor version of torch whose C++ interface the extension is compiled against."""


def matches(found: str) -> bool:
    """Whether a version of torch, such as ``"2.11.0+cu128"``, is of the right minor version."""
    return found.split("+")[0].split(".")[:2] == BUILT_FOR.split(".")
