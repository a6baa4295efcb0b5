"""Compares the installed torch with the version that this package is built for.

The check runs before the extension is loaded, because with another version of torch that load fails
with an unhelpful message about an unknown symbol.
"""

import torch

BUILT_FOR = "2.11"
"""The minor version of torch whose C++ interface the extension is compiled against."""


def check(found: str) -> None:
    """Check a version of torch against ``BUILT_FOR``.

    Args:
        found: the installed version, such as ``"2.11.0+cu128"``.

    Raises:
        ImportError: ``found`` is another minor version.
    """
    if found.split("+")[0].split(".")[:2] != BUILT_FOR.split("."):
        raise ImportError(
            f"proprelu is built for torch {BUILT_FOR}, but torch {found} is installed; "
            f"pip install 'torch=={BUILT_FOR}.*', or build proprelu from source for your torch"
        )


check(torch.__version__)
