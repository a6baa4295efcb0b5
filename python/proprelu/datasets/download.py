"""Fetch one file: over https, checked, and whole or not at all."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path

from proprelu.atomic import written_whole

_CHUNK = 1 << 16


def download(url: str, target: Path, sha256: str, *, timeout: float = 30.0) -> None:
    """Writes the file at ``url`` to ``target``.

    Args:
        url: an https address.
        target: the file to write; its folder is made if absent.
        sha256: what the content has to hash to, in hexadecimal.
        timeout: seconds without an answer before it gives up.

    Raises:
        ValueError: the address is not https.
        OSError: no connection, no such file, or another content than ``sha256`` says. Nothing is
            left behind then.
    """
    if not url.startswith("https://"):
        raise ValueError(f"a download needs an https address, got {url!r}")
    digest = hashlib.sha256()
    with written_whole(target) as part:
        with urllib.request.urlopen(url, timeout=timeout) as response, part.open("wb") as file:
            while chunk := response.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != sha256:
            got = digest.hexdigest()
            raise OSError(f"{url} must have the SHA-256 sum {sha256}, got {got}; try again later")
