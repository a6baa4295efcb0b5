"""Every CUDA source compiles for every architecture that the installed NVRTC supports."""

import hashlib
import importlib.util
from pathlib import Path

import pytest
from proprelu import _core

ARCHITECTURES = [(8, 0), (9, 0), (10, 0)]

needs_nvrtc = pytest.mark.skipif(
    importlib.util.find_spec("nvidia") is None, reason="this torch was built without CUDA"
)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("source", _core.cuda_sources())
@needs_nvrtc
def test_every_source_compiles(source: str, architecture: tuple[int, int]) -> None:
    cubin = bytes(_core.cuda_compile(source, *architecture))
    assert cubin.startswith(b"\x7fELF")
    _, entries = _core.cuda_source(source)
    for entry in entries:
        assert b".text." + entry.encode() + b"\0" in cubin, f"{entry} is not in the machine code"


@needs_nvrtc
def test_machine_code_is_kept(tmp_path: Path) -> None:
    first = _core.cuda_compile("augment", 9, 0, tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("augment-sm_90-")
    whole = file.read_bytes()
    other = b"\x7fELF of another kind"
    file.write_bytes(hashlib.sha256(other).digest() + other)
    assert bytes(_core.cuda_compile("augment", 9, 0, tmp_path)) == other
    for damaged in (whole[:-1], whole[:100] + b"?" + whole[101:]):
        file.write_bytes(damaged)
        assert _core.cuda_compile("augment", 9, 0, tmp_path) == first
        assert file.read_bytes() == whole


@needs_nvrtc
def test_a_read_only_folder_is_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert _core.cuda_compile("optimizer", 8, 0, tmp_path / "file")


@needs_nvrtc
def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"CUDA kernels augment do not compile for sm_12: .*"):
        _core.cuda_compile("augment", 1, 2)


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(ValueError, match=r"source must be one of augment, batch_norm.*got .relu."):
        _core.cuda_source("relu")
