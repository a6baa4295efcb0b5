"""Numbers as settings: any kind of number is taken where a number is expected.

Those of numpy, and arrays and tensors that hold one, become Python's. A bool is no number.
"""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any

__all__ = ["as_count", "as_fraction", "as_number", "as_positive", "as_real", "as_whole"]


def as_whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """The value as an ``int``.

    Raises:
        ValueError: it is no whole number, below ``least`` or above ``most``.
    """
    number = _scalar(value)
    if isinstance(number, numbers.Integral):
        whole = operator.index(number)
        if least <= whole and (most is None or whole <= most):
            return whole
    bound = "" if most is None else f" and <= {most}"
    raise ValueError(f"{name} must be a whole number >= {least}{bound}, got {value!r}")


def as_count(name: str, value: Any) -> int:
    """The value as an ``int`` of at least 1; otherwise raise ``ValueError``."""
    return as_whole(name, value, 1)


def as_real(value: Any) -> float | None:
    """The value as a ``float``; None if it is no number, or not finite."""
    number = _scalar(value)
    if not isinstance(number, numbers.Real):
        return None
    try:
        real = float(number)
    except OverflowError:
        return None
    return real if math.isfinite(real) else None


def as_number(name: str, value: Any) -> float:
    """The value as a finite ``float``; otherwise raise ``ValueError``."""
    real = as_real(value)
    if real is None:
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return real


def as_fraction(name: str, value: Any) -> float:
    """The value as a ``float`` from 0 to 1; otherwise raise ``ValueError``."""
    real = as_real(value)
    if real is None or not 0.0 <= real <= 1.0:
        raise ValueError(f"{name} must be between 0 and 1, got {value!r}")
    return real


def as_positive(name: str, value: Any) -> float:
    """The value as a finite ``float`` above 0; otherwise raise ``ValueError``."""
    real = as_real(value)
    if real is None or real <= 0.0:
        raise ValueError(f"{name} must be a number above 0, got {value!r}")
    return real


def _scalar(value: Any) -> Any:
    """The number in an array or tensor without dimensions; None for a bool."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, bool) else value
