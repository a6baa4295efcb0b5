"""Download one file: over https, verified, and whole or not at all."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import torch.hub

from proprelu.atomic import written_whole

__all__ = ["download"]


def download(url: str, target: Path, sha256: str, *, timeout: float = 30.0) -> None:
    """Download ``url`` to the file ``target``.

    Args:
        url: an https address.
        target: the file to write; its folder is created if absent.
        sha256: the expected SHA-256 sum of the content, in hexadecimal.
        timeout: seconds without a response before it gives up.

    Raises:
        ValueError: the address is not https.
        OSError: no connection, no such file, or another SHA-256 sum. No file is left behind then.
    """
    if not url.startswith("https://"):
        raise ValueError(f"a download needs an https address, got {url!r}")
    with written_whole(target) as part, _socket_timeout(timeout):
        try:
            torch.hub.download_url_to_file(url, str(part), sha256, progress=False)
        except RuntimeError as error:
            message = f"{url} must have the SHA-256 sum {sha256}: {error}; try again later"
            raise OSError(message) from error


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torch's download has no timeout of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
