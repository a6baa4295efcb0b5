"""What torch has once for the whole process."""

from threading import RLock

__all__ = ["TORCH_GLOBALS"]

TORCH_GLOBALS = RLock()
"""Held while torch's global state is changed: its generators, and what a trace replaces."""
