"""The torch that this package is built for, compared with the one that is here.

It runs before the extension is loaded: with another torch that load fails on an unknown symbol.
"""

import torch

BUILT_FOR = "2.11"
"""The minor version of torch whose C++ interface the extension is compiled against."""


def check(found: str) -> None:
    """Refuse another minor version of torch.

    Raises:
        ImportError: `found` is of another minor version.
    """
    if found.split("+")[0].split(".")[:2] != BUILT_FOR.split("."):
        raise ImportError(
            f"proprelu is built for torch {BUILT_FOR}, but torch {found} is installed; "
            f"pip install 'torch=={BUILT_FOR}.*', or build proprelu from source for your torch"
        )


check(torch.__version__)
