"""A damaged checkpoint or file of weights is refused, or what it holds is unharmed."""

from __future__ import annotations

import json
import random
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from proprelu import AdamW, load_weights, save_weights
from proprelu._core import TrainState
from proprelu.weights import seal
from torch import Tensor, nn

Mutation = Callable[[random.Random, bytes], bytes]


def _model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


def _state(model: nn.Module) -> TrainState:
    settings = AdamW().settings()
    return TrainState(
        [(name, p.detach(), settings) for name, p in model.named_parameters()],
        [(name, b) for name, b in model.named_buffers()],
        {"decay": 0.9, "warmup": True},
    )


class Checkpoint:
    """A checkpoint, and everything that is read from one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "a.ckpt"
        rows = [_row(1), _row(2)]
        state = _state(_model(0))
        counters, tensors = state.memory()
        updates = dict.fromkeys(counters["updates"], 7)
        state.go_on({**counters, "step": 8, "epoch": 2, "updates": updates, "rows": rows}, tensors)
        state.save(self.path)
        self.content = self.path.read_bytes()
        self.expected = self.read()

    def read(self) -> Any:
        model = _model(1)
        state = _state(model)
        state.load(self.path)
        counters, tensors = state.memory()
        return _bits(model.state_dict()), _bits(dict(tensors)), counters


class Weights:
    """A file of weights, and what is read from one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "a.safetensors"
        save_weights(_model(0), self.path)
        self.content = self.path.read_bytes()
        self.expected = self.read()

    def read(self) -> Any:
        model = _model(1)
        load_weights(model, self.path)
        return _bits(model.state_dict())


def _row(epoch: int) -> dict[str, Any]:
    names = ("train_top1", "train_top5", "val_loss", "val_top1", "val_top5")
    numbers = {"lr": 0.1, "train_loss": 1.5, "seconds": 1.0, "images_per_s": 2.0}
    return {"epoch": epoch, "step": 4 * epoch, **numbers, **dict.fromkeys(names, 0.5)}


def _bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in tensors.items()}


def _flip_bit(chance: random.Random, content: bytes) -> bytes:
    bit = chance.randrange(8 * len(content))
    return _with(content, bit // 8, bytes([content[bit // 8] ^ (1 << bit % 8)]))


def _set_bytes(chance: random.Random, content: bytes) -> bytes:
    return _with(content, chance.randrange(len(content)), chance.randbytes(chance.randint(1, 9)))


def _truncate(chance: random.Random, content: bytes) -> bytes:
    return content[: chance.randrange(len(content))]


def _append(chance: random.Random, content: bytes) -> bytes:
    return content + chance.choice([chance.randbytes(chance.randint(1, 64)), content])


def _insert(chance: random.Random, content: bytes) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + chance.randbytes(chance.choice([1, 4, 8, 64])) + content[at:]


def _delete(chance: random.Random, content: bytes) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + content[at + chance.choice([1, 4, 8, 64]) :]


def _swap_blocks(chance: random.Random, content: bytes) -> bytes:
    length = chance.choice([4, 16, 64, 256])
    first, second = sorted(chance.randrange(len(content) - length) for _ in range(2))
    if second - first < length:
        return _zero_block(chance, content)
    swapped = _with(content, first, content[second : second + length])
    return _with(swapped, second, content[first : first + length])


def _copy_block(chance: random.Random, content: bytes) -> bytes:
    length = chance.choice([4, 16, 64, 512])
    start, end = (chance.randrange(len(content) - length) for _ in range(2))
    return _with(content, end, content[start : start + length])


def _zero_block(chance: random.Random, content: bytes) -> bytes:
    length = chance.choice([4, 16, 64, 512])
    return _with(content, chance.randrange(len(content)), bytes(length))


def _length_of_the_header(chance: random.Random, content: bytes) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    lies = [0, 1, length - 1, length + 8, len(content), 2**31, 2**63, 2**64 - 1, 100_000_001]
    return struct.pack("<Q", chance.choice(lies)) + content[8:]


def _digit_of_the_header(chance: random.Random, content: bytes) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    digits = [at for at in range(8, 8 + length) if content[at : at + 1].isdigit()]
    return _with(content, chance.choice(digits), str(chance.randrange(10)).encode())


def _word_of_the_header(chance: random.Random, content: bytes) -> bytes:
    """Another type, name or sign in the header, whose length is corrected."""
    old, new = chance.choice(
        [
            (b"F32", b"I32"),
            (b"F32", b"F64"),
            (b"I64", b"F64"),
            (b"weight", b"weighs"),
            (b"bias", b"weight"),
            (b"running_mean", b"running_var"),
            (b"shape", b"shapes"),
            (b"model.", b"ema."),
            (seal.KEY.encode(), b"proprelu.sum"),
            (b"proprelu.", b"other."),
            (b"__metadata__", b"metadata"),
            (b"[4]", b"[2,2]"),
            (b"[4]", b"[-4]"),
            (b"[4,3,3,3]", b"[3,4,3,3]"),
            (b"[3,16]", b"[16,3]"),
        ]
    )
    (length,) = struct.unpack("<Q", content[:8])
    header = content[8 : 8 + length]
    places = [at for at in range(length) if header.startswith(old, at)]
    if not places:
        return _flip_bit(chance, content)
    at = chance.choice(places)
    header = header[:at] + new + header[at + len(old) :]
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def _with(content: bytes, at: int, part: bytes) -> bytes:
    return (content[:at] + part + content[at + len(part) :])[: len(content)]


MUTATIONS: list[Mutation] = [
    _flip_bit,
    _set_bytes,
    _truncate,
    _append,
    _insert,
    _delete,
    _swap_blocks,
    _copy_block,
    _zero_block,
    _length_of_the_header,
    _digit_of_the_header,
    _word_of_the_header,
]


def _trial(file: Checkpoint | Weights, count: int) -> Counter[str]:
    """How many of the damaged files are refused, identical and silently different."""
    chance, results = random.Random(0), Counter[str]()
    while results.total() < count:
        mutation = MUTATIONS[results.total() % len(MUTATIONS)]
        damaged = mutation(chance, file.content)
        if damaged == file.content:
            continue
        file.path.write_bytes(damaged)
        results[_result(file, mutation)] += 1
    return results


def _result(file: Checkpoint | Weights, mutation: Mutation) -> str:
    try:
        found = file.read()
    except (ValueError, OSError) as error:
        text = str(error)
        return "refused" if "\n" not in text and str(file.path) in text else f"unclear: {text}"
    return "identical" if found == file.expected else f"silent: {mutation}"


@pytest.mark.parametrize("kind", [Checkpoint, Weights])
@pytest.mark.parametrize("count", [120, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_damage_is_silent(kind: type[Checkpoint | Weights], count: int, tmp_path: Path) -> None:
    results = _trial(kind(tmp_path), count)
    print(kind.__name__, dict(results))
    assert set(results) <= {"refused", "identical"}
    assert results["refused"] > 0.9 * count


def _edited(content: bytes, edit: Callable[[dict[str, Any]], object]) -> bytes:
    """The checkpoint with other counters and a sum that is right for them."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    counters = json.loads(header["__metadata__"]["proprelu.checkpoint"])
    edit(counters)
    header["__metadata__"]["proprelu.checkpoint"] = json.dumps(counters)
    header["__metadata__"][seal.KEY] = seal.BLANK
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return seal.sealed(struct.pack("<Q", len(text)) + text + content[8 + length :])


EDITS: list[Callable[[dict[str, Any]], object]] = [
    lambda c: c.update(step=2**63),
    lambda c: c.update(step=2**64 - 1),
    lambda c: c.update(step=2**70),
    lambda c: c.update(step=-1),
    lambda c: c.update(step=1.5),
    lambda c: c.update(step=True),
    lambda c: c.update(epoch=2**63),
    lambda c: c.update(epoch=-1),
    lambda c: c.update(epoch=3),
    lambda c: c.update(updates=[2**63] * len(c["updates"])),
    lambda c: c.update(updates=c["updates"][1:]),
    lambda c: c.update(rows=c["rows"][:1]),
    lambda c: c.update(rows=c["rows"][::-1]),
    lambda c: c.update(rows=float("nan")),
    lambda c: c["rows"][0].update(step=float("nan")),
    lambda c: c["rows"][0].update(measures=[]),
    lambda c: c.update(version=1),
    lambda c: c.update(more=1),
    lambda c: c.pop("facts"),
]


@pytest.mark.parametrize("number", range(len(EDITS)))
def test_impossible_counters_are_refused(number: int, tmp_path: Path) -> None:
    file = Checkpoint(tmp_path)
    file.path.write_bytes(_edited(file.content, lambda counters: None))
    assert file.read() == file.expected
    file.path.write_bytes(_edited(file.content, EDITS[number]))
    with pytest.raises(ValueError, match="checkpoint") as caught:
        file.read()
    assert "\n" not in str(caught.value)
