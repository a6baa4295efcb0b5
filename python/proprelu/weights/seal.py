"""The SHA-256 sum by which damage to a file is noticed.

It covers the whole file, header and tensors, with zeros in the place of the sum itself.
``src/train/checkpoint/seal.rs`` does the same for checkpoints.
"""

from __future__ import annotations

import hashlib

__all__ = ["BLANK", "KEY", "is_whole", "sealed"]

KEY = "proprelu.sha256"
"""The key of the sum in the metadata."""

_DIGITS = 64
BLANK = "0" * _DIGITS
"""The value of the key in a file that is not sealed yet."""


def sealed(content: bytes) -> bytes:
    """The content of a safetensors file with the sum in place of the blank."""
    at = _place(content)
    assert at is not None, "the metadata must hold the blank"
    return content[:at] + _sum(content, at).encode() + content[at + _DIGITS :]


def is_whole(content: bytes) -> bool | None:
    """Whether the file is as it was sealed; None if it has no sum."""
    at = _place(content)
    return None if at is None else _sum(content, at).encode() == content[at : at + _DIGITS]


def _place(content: bytes) -> int | None:
    """Where the digits begin. Only the key itself can have these quotes: texts escape theirs."""
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    key = f'"{KEY}":"'.encode()
    found = header.find(key)
    at = 8 + found + len(key)
    return at if found >= 0 and at + _DIGITS <= 8 + len(header) else None


def _sum(content: bytes, at: int) -> str:
    view = memoryview(content)
    sum = hashlib.sha256(view[:at])
    sum.update(BLANK.encode())
    sum.update(view[at + _DIGITS :])
    return sum.hexdigest()
