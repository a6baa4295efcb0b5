"""Reads the pickles in CIFAR's Python archives without executing code.

A pickle can name any function to be called. Here the few names that NumPy writes are mapped to
inert classes of this file, and every other name is refused.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt


class Refused(pickle.UnpicklingError):
    """The pickle contains a name or a type that a data set does not need."""


class _Array:
    """Replaces ``numpy.ndarray``: accepts the state of a uint8 array."""

    value: npt.NDArray[np.uint8]

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, is_fortran, raw = state
        self.fill(raw, dtype, shape, "F" if is_fortran else "C")

    def fill(self, raw: Any, dtype: Any, shape: Any, order: Any) -> _Array:
        if not isinstance(dtype, _Dtype) or order not in ("C", "F"):
            raise Refused("an array must be of uint8")
        flat = np.frombuffer(raw, np.uint8)
        self.value = flat.reshape(shape, order=order)
        return self


class _Dtype:
    """Replaces ``numpy.dtype``; accepts only uint8."""

    def __init__(self, name: Any, *_flags: Any) -> None:
        if name not in ("u1", b"u1"):
            raise Refused(f"an array must be of uint8, got dtype {name!r}")

    def __setstate__(self, state: Any) -> None:
        pass  # byte order and alignment do not matter for single bytes


class _Function:
    """Base of the classes that replace functions; a pickle cannot set attributes on them."""

    def __setstate__(self, state: Any) -> None:
        raise Refused("a function has no state")


class _Reconstruct(_Function):
    """Replaces ``multiarray._reconstruct``: an empty array; its state follows in the pickle."""

    def __new__(cls, *_arguments: Any) -> Any:
        return _Array()


class _FromBuffer(_Function):
    """Replaces ``numeric._frombuffer``, which pickles of protocol 5 use."""

    def __new__(cls, raw: Any, dtype: Any, shape: Any, order: Any) -> Any:
        return _Array().fill(raw, dtype, shape, order)


class _Encode(_Function):
    """Replaces ``codecs.encode``: bytes in a pickle that Python 2 can read."""

    def __new__(cls, text: Any, encoding: Any = "latin1") -> Any:
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise Refused("only text in latin1 is encoded")
        return text.encode("latin1")


_NAMES: dict[tuple[str, str], type] = {
    ("_codecs", "encode"): _Encode,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer,
    ("numpy._core.numeric", "_frombuffer"): _FromBuffer,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise Refused(f"a data set must not contain {module}.{name}")
        return _NAMES[module, name]


def load(name: str, content: bytes) -> dict[str, Any]:
    """Read a pickled dictionary of plain values and uint8 arrays.

    Args:
        name: the name of the file, for errors.
        content: the pickle.

    Raises:
        ValueError: it names anything but uint8 arrays, is damaged, or is not a dictionary.
    """
    try:
        loaded = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Refused as error:
        raise ValueError(f"{name} was not read: {error}; take the file from its source") from None
    except Exception as error:
        # A damaged pickle can raise any exception.
        reason = " ".join(str(error).split())
        message = f"{name} must hold a whole pickle, got a damaged one ({reason}); fetch it again"
        raise ValueError(message) from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{name} must hold a dictionary, got {type(loaded).__name__}")
    return {_text(key): _plain(value) for key, value in loaded.items()}


def _text(key: object) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)


def _plain(value: Any) -> Any:
    return getattr(value, "value", None) if isinstance(value, _Array) else value
